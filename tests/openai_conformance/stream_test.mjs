// Streams of /v1/chat/completions and /v1/completions, with what shapes an answer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, collect, model, user } from './client.mjs';

const apis = [
  { name: 'chat', ask: (more) => client.chat.completions.create({ model, messages: user('hello'), user: 'somebody', ...more }),
    text: (choice) => choice.delta.content ?? '', logprobs: { logprobs: true },
    tokens: (logprobs) => logprobs.content.map((one) => one.token) },
  { name: 'completions', ask: (more) => client.completions.create({ model, prompt: 'hello', user: 'somebody', ...more }),
    text: (choice) => choice.text, logprobs: { logprobs: 0 }, tokens: (logprobs) => logprobs.tokens },
];

// What the chunks of a stream say.
async function read(api, more) {
  const choices = (await collect(await api.ask({ ...more, stream: true }))).flatMap((chunk) => chunk.choices);
  const texts = choices.map(api.text);
  return { texts, whole: texts.join(''), finishes: choices.map((choice) => choice.finish_reason).filter((finish) => finish),
    tokens: choices.flatMap((choice) => (choice.logprobs ? api.tokens(choice.logprobs) : [])) };
}

// The model's first tokens: its control tokens, and one for each byte.
const tokenOf = (character) => 3 + character.charCodeAt(0);
// Without them there are letters and words only, whose tokens are text, and no end.
const words = Object.fromEntries(Array.from({ length: 3 + 256 }, (_, token) => [token, -100]));

for (const api of apis) {
  test(`stop ends a stream of ${api.name} before it`, async () => {
    const drawn = { temperature: 1, seed: 5, max_tokens: 24, logit_bias: words };
    const { tokens, whole, finishes } = await read(api, { ...drawn, ...api.logprobs });
    assert.equal(tokens.length, 24);
    assert.equal(tokens.join(''), whole);
    assert.deepEqual(finishes, ['length']);
    const begun = `${tokens[3]}${tokens[4]}#`;  // is kept back until it is none
    for (const stop of [tokens[10], tokens.slice(9, 12).join(''), tokens[9].at(-1) + tokens[10] + tokens[11][0]]) {
      const cut = await read(api, { ...drawn, stop: [begun, stop] });
      assert.ok(cut.texts.every((text) => !text.includes(stop)), stop);
      assert.equal(cut.whole, whole.slice(0, whole.indexOf(stop)));
      assert.deepEqual(cut.finishes, ['stop']);
    }
    assert.equal((await read(api, { ...drawn, stop: begun })).whole, whole);
  });

  test(`the seed decides a stream of ${api.name}`, async () => {
    const drawn = async (seed) => (await read(api, { temperature: 1, max_tokens: 12, seed })).whole;
    const texts = [];
    for (const seed of [7, 8, 9, 10]) texts.push(await drawn(seed));
    assert.equal(await drawn(7), texts[0]);
    assert.ok(new Set(texts).size > 1, texts[0]);
  });

  test(`a stream of ${api.name} is JSON`, async () => {
    // Quotes and braces are made likely: an object of a model like this may be endless.
    const more = { response_format: { type: 'json_object' }, max_tokens: 400, logit_bias: { [tokenOf('"')]: 12, [tokenOf('}')]: 10 } };
    let finished = 0;
    for (let seed = 0; seed < 8; ++seed) {
      const { whole, finishes } = await read(api, { ...more, seed });
      assert.equal(finishes.length, 1);
      if (finishes[0] !== 'stop') continue;
      finished += 1;
      const made = JSON.parse(whole);
      assert.ok(typeof made === 'object' && made !== null && !Array.isArray(made), whole);
    }
    assert.ok(finished >= 4, `only ${finished} were finished`);
  });

  test(`a stream of ${api.name} is of a schema`, async () => {
    const schema = { type: 'object', additionalProperties: false, required: ['kind', 'counts'], properties: {
      kind: { enum: ['a', 'ü"'] }, counts: { type: 'array', items: { type: 'integer', minimum: -3, maximum: 120 }, maxItems: 4 } } };
    const response_format = { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } };
    for (let seed = 0; seed < 4; ++seed) {
      const { whole, finishes } = await read(api, { response_format, max_tokens: 600, seed });
      assert.deepEqual(finishes, ['stop']);
      const made = JSON.parse(whole);
      assert.deepEqual(Object.keys(made), ['kind', 'counts']);
      assert.ok(['a', 'ü"'].includes(made.kind), whole);
      assert.ok(made.counts.length <= 4 && made.counts.every((n) => Number.isInteger(n) && n >= -3 && n <= 120), whole);
    }
  });
}

test('logprobs come with the chunks of a chat', async () => {
  const chunks = await collect(await apis[0].ask({
    temperature: 1, seed: 5, max_tokens: 12, logit_bias: words, logprobs: true, top_logprobs: 3, stream: true }));
  let seen = 0;
  for (const { delta, logprobs } of chunks.flatMap((chunk) => chunk.choices)) {
    const content = logprobs?.content ?? [];
    assert.equal(content.map((token) => token.token).join(''), delta.content ?? '');
    for (const { token, bytes, logprob, top_logprobs: top } of content) {
      seen += 1;
      assert.equal(Buffer.from(bytes).toString(), token);
      assert.ok(logprob <= 0 && logprob <= top[0].logprob);  // that of the model, without the bias
      assert.equal(top.length, 3);
      assert.ok(top[0].logprob >= top[1].logprob && top[1].logprob >= top[2].logprob && top[0].logprob <= 0);
    }
  }
  assert.equal(seen, 12);
});

test('logprobs come with the chunks of a completion', async () => {
  const chunks = await collect(await apis[1].ask({
    temperature: 1, seed: 5, max_tokens: 12, logit_bias: words, logprobs: 3, stream: true }));
  let offset = 0;
  for (const { text, logprobs } of chunks.flatMap((chunk) => chunk.choices)) {
    assert.equal((logprobs?.tokens ?? []).join(''), text);
    if (!logprobs) continue;
    assert.deepEqual(logprobs.text_offset, [offset]);
    assert.ok(logprobs.token_logprobs.length === 1 && logprobs.token_logprobs[0] <= 0);
    // Two of them may have the same text, and then one entry.
    assert.ok(Object.keys(logprobs.top_logprobs[0]).length >= 1 && Object.keys(logprobs.top_logprobs[0]).length <= 3);
    offset += text.length;
  }
  assert.ok(offset >= 12);
});
