// Tools, with the official client. The model is of random weights: the grammar makes its calls right.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, collect, failure, model, user } from './client.mjs';

const tools = [
  { type: 'function', function: { name: 'get_weather', description: 'of a place', strict: true, parameters: {
    type: 'object', additionalProperties: false, required: ['place', 'days'],
    properties: { place: { enum: ['Berlin', 'Rome "II"'] }, days: { type: 'integer', minimum: 1, maximum: 14 } } } } },
  { type: 'function', function: { name: 'now' } },
];
const chat = (more) => client.chat.completions.create({
  model, messages: user('what is the weather?'), tools, max_tokens: 400, temperature: 1, ...more });

function check(call) {
  assert.equal(call.type, 'function');
  assert.match(call.id, /^[0-9A-Za-z]{9}$/);
  assert.ok(['get_weather', 'now'].includes(call.function.name));
  const given = JSON.parse(call.function.arguments);
  if (call.function.name === 'get_weather') {
    assert.ok(['Berlin', 'Rome "II"'].includes(given.place));
    assert.ok(given.days >= 1 && given.days <= 14);
  }
}

test('required makes calls that parse', async () => {
  for (let seed = 0; seed < 8; ++seed) {
    const answer = await chat({ tool_choice: 'required', parallel_tool_calls: false, seed });
    const [choice] = answer.choices;
    assert.equal(choice.finish_reason, 'tool_calls');
    assert.equal(choice.message.content, null);
    assert.equal(choice.message.tool_calls.length, 1);
    check(choice.message.tool_calls[0]);
  }
});

test('several calls in one answer', async () => {
  for (let seed = 0; seed < 8; ++seed) {
    const answer = await chat({ tool_choice: 'required', seed });
    const calls = answer.choices[0].message.tool_calls;
    if (answer.choices[0].finish_reason === 'tool_calls') calls.forEach(check);
    assert.equal(new Set(calls.map((call) => call.id)).size, calls.length);
  }
});

test('a named tool is the one that is called', async () => {
  const answer = await chat({ tool_choice: { type: 'function', function: { name: 'now' } } });
  assert.deepEqual(answer.choices[0].message.tool_calls.map((call) => call.function.name), ['now']);
});

test('none and auto may answer with text', async () => {
  const none = await chat({ tool_choice: 'none', max_tokens: 10 });
  assert.equal(none.choices[0].message.tool_calls, undefined);
  assert.notEqual(none.choices[0].finish_reason, 'tool_calls');
  const auto = await chat({ max_tokens: 10, temperature: 0 });
  assert.equal(auto.choices[0].message.tool_calls, undefined);
  assert.ok(auto.choices[0].message.content.length > 0);
});

// A bias for the token that begins calls makes even this model begin one.
test('auto calls when the model begins to', async () => {
  const { tokens } = await client.post('/../tokenize', {
    body: { model, text: process.env.OPENAI_TOOL_MARKER, add_start: false, special: true } });
  assert.equal(tokens.length, 1);
  const more = { logit_bias: { [tokens[0]]: 100 }, parallel_tool_calls: false };
  for (let seed = 0; seed < 4; ++seed) {
    const answer = await chat({ ...more, seed });
    const [choice] = answer.choices;
    assert.equal(choice.finish_reason, 'tool_calls');
    assert.equal(choice.message.content, null);
    assert.equal(choice.message.tool_calls.length, 1);
    check(choice.message.tool_calls[0]);
  }
  const deltas = (await collect(await chat({ ...more, stream: true }))).map((chunk) => chunk.choices[0].delta);
  assert.ok(deltas.every((delta) => !delta.content), 'the call is shown as text');
  JSON.parse(deltas.map((delta) => delta.tool_calls?.[0].function.arguments ?? '').join(''));
});

test('deltas of calls add up', async () => {
  for (let seed = 0; seed < 4; ++seed) {
    const whole = await chat({ tool_choice: 'required', seed });
    const chunks = await collect(await chat({ tool_choice: 'required', seed, stream: true }));
    const calls = [];
    for (const chunk of chunks) {
      for (const part of chunk.choices[0].delta.tool_calls ?? []) {
        if (part.id) calls[part.index] = { name: part.function.name, arguments: '' };
        calls[part.index].arguments += part.function.arguments;
      }
    }
    assert.deepEqual(calls, whole.choices[0].message.tool_calls.map((call) => call.function));
    assert.equal(chunks.at(-1).choices[0].finish_reason, whole.choices[0].finish_reason);
  }
});

test('a whole turn with a tool', async () => {
  const first = await chat({ tool_choice: { type: 'function', function: { name: 'get_weather' } } });
  const { message } = first.choices[0];
  check(message.tool_calls[0]);
  const second = await chat({ tool_choice: 'none', max_tokens: 8, messages: [
    ...user('what is the weather?'), message,
    { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'rain' }] });
  assert.equal(second.choices[0].message.role, 'assistant');
  assert.ok(second.usage.completion_tokens > 0);
});

test('a call that is cut off is none to be run', async () => {
  for (const more of [{ stop: ['days'] }, { max_tokens: 4 }]) {
    const answer = await chat({ tool_choice: { type: 'function', function: { name: 'get_weather' } }, ...more });
    assert.notEqual(answer.choices[0].finish_reason, 'tool_calls');
    assert.ok(!answer.choices[0].message.content, 'the call is shown as text');
  }
});

test('wrong tools hear why', async () => {
  const named = await failure(chat({ tool_choice: { type: 'function', function: { name: 'absent' } } }));
  assert.equal(named.status, 400);
  assert.equal(named.param, 'tool_choice');
  const schema = await failure(chat({ tools: [{ type: 'function', function: { name: 'f',
    parameters: { type: 'object', properties: { a: { type: 'string', contentEncoding: 'x' } } } } }] }));
  assert.equal(schema.status, 400);
  assert.match(schema.message, /contentEncoding/);
});
