// /v1/chat/completions with the official client: every field.
import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { test } from 'node:test';
import { client, collect, failure, model, user } from './client.mjs';

const chat = (more, options) =>
  client.chat.completions.create({ model, messages: user('hello'), max_tokens: 12, ...more }, options);
const text = (answer) => answer.choices[0].message.content;

test('an answer has its parts', async () => {
  const answer = await chat({ user: 'somebody', metadata: { a: 'b' } });
  assert.match(answer.id, /^chatcmpl-/);
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, model);
  assert.ok(Math.abs(answer.created - Date.now() / 1000) < 600);
  assert.equal(answer.choices.length, 1);
  const [choice] = answer.choices;
  assert.equal(choice.index, 0);
  assert.equal(choice.message.role, 'assistant');
  assert.ok(['stop', 'length'].includes(choice.finish_reason));
  assert.equal(choice.logprobs, null);
  assert.ok(answer.usage.prompt_tokens > 0);
  assert.ok(answer.usage.completion_tokens > 0 && answer.usage.completion_tokens <= 12);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer.usage.prompt_tokens_details.cached_tokens >= 0);
  assert.match(answer._request_id, /^req_/);
});

test('seed, temperature and the cuts decide', async () => {
  const drawn = { temperature: 1.5, top_p: 0.9, top_k: 40, min_p: 0.01, seed: 7 };
  assert.equal(text(await chat(drawn)), text(await chat(drawn)));
  assert.notEqual(text(await chat(drawn)), text(await chat({ ...drawn, seed: 8 })));
  const greedy = text(await chat({ temperature: 0 }));
  assert.equal(greedy, text(await chat({ temperature: 2, top_k: 1 })));
  assert.equal(greedy, text(await chat({ temperature: 2, top_p: 0 })));
  assert.equal(greedy, text(await chat({ temperature: 2, min_p: 1 })));
});

test('max_tokens and max_completion_tokens end an answer', async () => {
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const answer = await client.chat.completions.create({
      model, messages: user('go'), temperature: 0, [name]: 3, logit_bias: { 2: -100 } });
    assert.equal(answer.usage.completion_tokens, 3);
    assert.equal(answer.choices[0].finish_reason, 'length');
  }
});

test('n gives several answers', async () => {
  const answer = await chat({ n: 3, temperature: 1.5, seed: 1 });
  assert.deepEqual(answer.choices.map((c) => c.index), [0, 1, 2]);
  assert.equal(new Set(answer.choices.map((c) => c.message.content)).size, 3);
  const chunks = await collect(await chat({ n: 3, temperature: 1.5, seed: 1, stream: true }));
  const streamed = ['', '', ''];
  for (const chunk of chunks) for (const c of chunk.choices) streamed[c.index] += c.delta.content ?? '';
  assert.deepEqual(streamed, answer.choices.map((c) => c.message.content));
});

test('stop ends an answer before it', async () => {
  const more = { temperature: 0, max_tokens: 60, logit_bias: { 2: -100 } };
  const whole = text(await chat(more));
  const stop = whole.slice(5, 8);
  for (const value of [stop, [stop, 'never seen']]) {
    const answer = await chat({ ...more, stop: value });
    assert.equal(text(answer), whole.slice(0, whole.indexOf(stop)));
    assert.equal(answer.choices[0].finish_reason, 'stop');
  }
});

test('logprobs come with the likeliest tokens', async () => {
  const answer = await chat({ logprobs: true, top_logprobs: 4, temperature: 0 });
  const { content } = answer.choices[0].logprobs;
  assert.equal(content.length, answer.usage.completion_tokens);
  for (const token of content) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 4);
    assert.deepEqual(token.top_logprobs[0].bytes, token.bytes, 'greedy takes the likeliest');
    assert.ok(token.top_logprobs[0].logprob >= token.top_logprobs[3].logprob);
  }
  const bytes = Buffer.from(content.flatMap((token) => token.bytes));
  assert.equal(bytes.toString(), text(answer));
  const chunks = await collect(await chat({ logprobs: true, temperature: 0, stream: true }));
  const streamed = chunks.flatMap((chunk) => chunk.choices.flatMap((c) => c.logprobs?.content ?? []));
  assert.equal(streamed.length, content.length);
});

test('bias and penalties change what comes', async () => {
  const plain = await chat({ temperature: 0, logprobs: true });
  const forced = await chat({ temperature: 0, logit_bias: { 104: 100 }, max_tokens: 4 });
  const tokens = await (await client.post('/../tokenize', {
    body: { model, text: text(forced), add_start: false } }));
  assert.ok(tokens.count >= 1);
  assert.notEqual(text(forced), text(plain).slice(0, text(forced).length));
  const loop = { temperature: 0, logit_bias: { 104: 12 }, max_tokens: 30 };
  const repeats = (answer) => new Set(text(answer)).size;
  assert.ok(repeats(await chat({ ...loop, presence_penalty: 2, frequency_penalty: 2 })) >
            repeats(await chat(loop)));
});

test('a stream is the same answer in chunks', async () => {
  const whole = await chat({ temperature: 0 });
  const chunks = await collect(await chat({ temperature: 0, stream: true, stream_options: { include_usage: true } }));
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
  assert.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk' && chunk.id === chunks[0].id));
  const joined = chunks.flatMap((chunk) => chunk.choices.map((c) => c.delta.content ?? '')).join('');
  assert.equal(joined, text(whole));
  const finishes = chunks.flatMap((chunk) => chunk.choices.map((c) => c.finish_reason)).filter((f) => f);
  assert.deepEqual(finishes, [whole.choices[0].finish_reason]);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, whole.usage.completion_tokens);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  const without = await collect(await chat({ temperature: 0, stream: true }));
  assert.ok(without.every((chunk) => !('usage' in chunk)));
});

test('the stream helper of the client understands it', async () => {
  const runner = client.chat.completions.stream({ model, messages: user('hi'), max_tokens: 8, temperature: 0 });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, text(await chat({ messages: user('hi'), max_tokens: 8, temperature: 0 })));
});

test('all kinds of messages are rendered', async () => {
  const answer = await chat({ messages: [
    { role: 'developer', content: 'be short' },
    { role: 'system', content: [{ type: 'text', text: 'be ' }, { type: 'text', text: 'kind' }] },
    { role: 'user', content: 'add', name: 'ada' },
    { role: 'assistant', content: null, tool_calls: [
      { id: 'call_1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } }] },
    { role: 'tool', tool_call_id: 'call_1', content: '2' },
    { role: 'user', content: 'thanks' }] });
  assert.ok(answer.usage.prompt_tokens > 30);
});

test('response_format makes JSON', async () => {
  const object = await chat({ response_format: { type: 'json_object' }, max_tokens: 800, temperature: 1, seed: 3 });
  if (object.choices[0].finish_reason === 'stop') assert.equal(typeof JSON.parse(text(object)), 'object');
  const plain = await chat({ response_format: { type: 'text' } });
  assert.ok(plain.usage.completion_tokens > 0);
  const schema = { type: 'object', additionalProperties: false, required: ['name', 'age', 'tags', 'kind', 'next'],
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 8 }, age: { type: 'integer', minimum: 3, maximum: 120 },
      tags: { type: 'array', items: { type: 'string', pattern: '^[a-z]{2,4}$' }, minItems: 1, maxItems: 3 },
      kind: { enum: ['a', 'b', null] }, next: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/pair' }] },
      extra: { type: ['boolean', 'null'] } },
    $defs: { pair: { type: 'object', properties: { x: { const: 1 } }, required: ['x'], additionalProperties: false } } };
  for (let seed = 0; seed < 12; ++seed) {
    const answer = await chat({ max_tokens: 600, temperature: 1, seed,
      response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } } });
    assert.equal(answer.choices[0].finish_reason, 'stop');
    const person = JSON.parse(text(answer));
    // Bytes that are no character, which this model writes, are shown as more than one.
    const name = [...person.name.replace(/\uFFFD+/g, '?')];
    assert.ok(name.length >= 1 && name.length <= 8, person.name);
    assert.ok(Number.isInteger(person.age) && person.age >= 3 && person.age <= 120);
    assert.ok(person.tags.length >= 1 && person.tags.every((tag) => /^[a-z]{2,4}$/.test(tag)));
    assert.ok(['a', 'b', null].includes(person.kind));
    assert.ok(person.next === null || person.next.x === 1);
    assert.ok(Object.keys(person).every((key) => key in schema.properties));
  }
});

test('the worker takes the grammar of every keyword', async () => {
  const ipv4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;
  const cases = [
    [{ type: 'string', format: 'date' }, (v) => !Number.isNaN(Date.parse(v)) || /-(30|31|29)$/.test(v)],
    [{ type: 'string', format: 'time' }, (v) => /^\d\d:\d\d:\d\d/.test(v)],
    [{ type: 'string', format: 'date-time' }, (v) => /^\d{4}-\d\d-\d\dT\d\d:/.test(v)],
    [{ type: 'string', format: 'uuid' }, (v) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(v)],
    [{ type: 'string', format: 'ipv4' }, (v) => ipv4.test(v)],
    [{ type: 'string', format: 'email' }, (v) => /^[^@]+@[^@]+\.[a-z]+$/.test(v)],
    [{ type: 'string', pattern: '^(a|[^b-d\\d]{2}|\\w+\\s?\\.|"\\\\)?x{0,2}$' }, (v) => v.length < 900],
    ...['^[A-z]{1,9}$', '^[ -~]{1,9}$', '^[à-ü€-😀]{2}$', '^[^a-y\\s-]$', 'b+', '^.$', '^a$|^b$'].map((pattern) =>
      [{ type: 'string', pattern }, (v) => new RegExp(pattern, 'u').test(v)]),
    [{ type: 'string', format: 'ipv6' }, (v) => isIPv6(v)],
    [{ type: 'string', format: 'hostname' }, (v) => URL.canParse(`http://${v}/`)],
    [{ type: 'string', format: 'uri' }, (v) => URL.canParse(v)],
    [{ type: 'string', format: 'duration' }, (v) => /^P/.test(v)],
    [{ type: 'string', maxLength: 0 }, (v) => v === ''],
    [{ type: 'integer', minimum: -1234, maximum: 98765 }, (v) => v >= -1234 && v <= 98765],
    [{ type: 'integer', exclusiveMinimum: 41, exclusiveMaximum: 43 }, (v) => v === 42],
    [{ type: 'number', minimum: 0 }, (v) => v >= 0],
    [{ type: 'number', exclusiveMinimum: 0, maximum: 1 }, (v) => v > 0 && v <= 1],
    [{ type: 'number', minimum: -2.5, exclusiveMaximum: -2.25 }, (v) => v >= -2.5 && v < -2.25],
    [{ type: ['null', 'boolean'] }, (v) => v === null || typeof v === 'boolean'],
    [{ type: 'array', items: { type: 'boolean' }, minItems: 2, maxItems: 2 }, (v) => v.length === 2],
    [{ type: 'array', items: { const: 'é"\\' }, maxItems: 3 }, (v) => v.every((one) => one === 'é"\\')],
    [{ type: 'array', maxItems: 0 }, (v) => v.length === 0],
    [{ type: 'array', prefixItems: [{ type: 'null' }, { const: 1 }] }, (v) => v[0] === null && v[1] === 1 && v.length === 2],
    [{ type: 'object', properties: { ab: { const: 1 }, abc: { const: 2 } }, required: ['ab'], additionalProperties: { type: 'null' } },
      (v) => v.ab === 1 && Object.entries(v).every(([k, x]) => ({ ab: 1, abc: 2 }[k] ?? null) === x)],
    [{ oneOf: [{ type: 'integer', nullable: true }, { enum: ['x', [1]] }] }, () => true],
    [{ $defs: { tree: { type: 'object', properties: { next: { $ref: '#/$defs/tree' } } } }, $ref: '#/$defs/tree' }, (v) => typeof v === 'object'],
  ];
  let finished = 0;
  for (const [v, right] of cases) {
    const schema = { type: 'object', properties: { v }, required: ['v'], additionalProperties: false };
    if (v.$defs) { schema.$defs = v.$defs; schema.properties.v = { $ref: v.$ref }; }
    for (let seed = 0; seed < 3; ++seed) {
      const answer = await chat({ max_tokens: 900, seed, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
      if (answer.choices[0].finish_reason !== 'stop') continue;  // a free text may be a long one
      finished += 1;
      const made = JSON.parse(text(answer)).v;
      assert.ok(right(made), `${JSON.stringify(made)} is not of ${JSON.stringify(v)}`);
    }
  }
  assert.ok(finished > 60, `only ${finished} were finished`);
});

test('wrong requests hear why', async () => {
  const cases = [
    [{ model: 'other' }, 404, 'model', 'model_not_found'],
    [{ temperature: 3 }, 400, 'temperature', null],
    [{ temperature: 'hot' }, 400, 'temperature', null],
    [{ n: 0 }, 400, 'n', null],
    [{ top_logprobs: 2 }, 400, 'top_logprobs', null],
    [{ messages: [] }, 400, 'messages', null],
    [{ messages: [{ role: 'wizard', content: 'x' }] }, 400, 'messages[0].role', null],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, 400, 'messages[0].content[0].type', null],
    [{ stop: [1] }, 400, 'stop', null],
    [{ logit_bias: { x: 1 } }, 400, 'logit_bias', null],
    [{ surprise: 1 }, 400, 'surprise', null],
    [{ user: 5 }, 400, 'user', null],
    [{ stream_options: { include_usage: true } }, 400, 'stream_options', null],
    [{ max_tokens: 1e9 }, 400, 'messages', 'context_length_exceeded'],
    [{ messages: user('word '.repeat(5000)) }, 400, 'messages', 'context_length_exceeded'],
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object', allOf: [] } } } },
      400, 'response_format.json_schema.schema', null],
    [{ store: true }, 400, 'store', null],
  ];
  for (const [more, status, param, code] of cases) {
    const error = await failure(chat(more));
    assert.equal(error.status, status, JSON.stringify(more).slice(0, 200));
    assert.equal(error.param, param);
    assert.equal(error.code, code);
    assert.equal(error.type, 'invalid_request_error');
    assert.ok(error.message.length > 10);
  }
  const long = await failure(chat({ messages: user('word '.repeat(5000)) }));
  assert.match(long.message, /context has 4096 tokens; the prompt has \d{4,}/);
});

test('a client that stops reading ends its answer', async () => {
  const stream = await chat({ max_tokens: 900, stream: true, logit_bias: { 2: -100 } });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;  // aborts the request
  }
});
