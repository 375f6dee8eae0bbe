// /v1/responses with the official client: the part of it that keeps nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, collect, failure, model } from './client.mjs';

const respond = (more) => client.responses.create({ model, input: 'hello', max_output_tokens: 12, temperature: 0, ...more });
const tools = [{ type: 'function', name: 'pick', description: 'a number', strict: true, parameters: {
  type: 'object', properties: { n: { type: 'integer', minimum: 1, maximum: 9 } }, required: ['n'], additionalProperties: false } }];

test('a response has its parts', async () => {
  const response = await respond({ instructions: 'be kind', metadata: { a: 'b' } });
  assert.match(response.id, /^resp_/);
  assert.equal(response.object, 'response');
  assert.ok(['completed', 'incomplete'].includes(response.status));
  assert.equal(response.output[0].type, 'message');
  assert.equal(response.output_text, response.output[0].content[0].text);
  assert.ok(response.output_text.length > 0);
  assert.ok(response.usage.input_tokens > 0 && response.usage.output_tokens > 0);
  assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
  assert.equal(response.instructions, 'be kind');
  assert.deepEqual(response.metadata, { a: 'b' });
  const cut = await respond({ max_output_tokens: 1 });
  assert.equal(cut.status, 'incomplete');
  assert.equal(cut.incomplete_details.reason, 'max_output_tokens');
});

test('events add up to the response', async () => {
  const whole = await respond({});
  const events = await collect(await respond({ stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
  assert.deepEqual(events.slice(0, 4).map((event) => event.type), ['response.created', 'response.in_progress',
    'response.output_item.added', 'response.content_part.added']);
  const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');
  assert.equal(text, whole.output_text);
  assert.equal(events.find((event) => event.type === 'response.output_text.done').text, text);
  assert.ok(['response.completed', 'response.incomplete'].includes(events.at(-1).type));
  assert.deepEqual(events.at(-1).response.usage.output_tokens, whole.usage.output_tokens);
  const final = await client.responses.stream({ model, input: 'hello', max_output_tokens: 12, temperature: 0 }).finalResponse();
  assert.equal(final.output[0].content[0].text, whole.output_text);
});

test('functions are called, and a turn goes on', async () => {
  const more = { tools, tool_choice: { type: 'function', name: 'pick' }, max_output_tokens: 200, temperature: 1 };
  const response = await respond(more);
  const [call] = response.output;
  assert.equal(call.type, 'function_call');
  assert.equal(call.name, 'pick');
  const { n } = JSON.parse(call.arguments);
  assert.ok(n >= 1 && n <= 9);
  const events = await collect(await respond({ ...more, stream: true, tool_choice: 'required' }));
  const done = events.find((event) => event.type === 'response.function_call_arguments.done');
  const deltas = events.filter((event) => event.type === 'response.function_call_arguments.delta' && event.item_id === done.item_id);
  assert.equal(deltas.map((event) => event.delta).join(''), done.arguments);
  JSON.parse(done.arguments);
  const next = await respond({ input: [{ role: 'user', content: [{ type: 'input_text', text: 'pick' }] }, call,
    { type: 'function_call_output', call_id: call.call_id, output: 'fine' }] });
  assert.equal(next.output[0].type, 'message');
});

test('text.format makes JSON', async () => {
  const response = await respond({ temperature: 1, max_output_tokens: 300, text: { format: { type: 'json_schema', name: 'x', strict: true,
    schema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'], additionalProperties: false } } } });
  assert.equal(typeof JSON.parse(response.output_text).ok, 'boolean');
});

test('what would have to be kept is refused', async () => {
  for (const [more, param] of [[{ previous_response_id: 'resp_1' }, 'previous_response_id'], [{ store: true }, 'store'],
    [{ background: true }, 'background'], [{ input: [] }, 'input'], [{ input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type'],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type'], [{ truncation: 'auto' }, 'truncation'], [{ surprise: 1 }, 'surprise']]) {
    const error = await failure(respond(more));
    assert.equal(error.status, 400, JSON.stringify(more));
    assert.equal(error.param, param);
  }
});
