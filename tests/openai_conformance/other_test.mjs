// Everything but chats, with the official client.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, collect, failure, model, OpenAI } from './client.mjs';

const complete = (more) => client.completions.create({ model, prompt: 'once', max_tokens: 8, temperature: 0, ...more });

test('models are listed and shown', async () => {
  const list = await collect(await client.models.list());
  assert.deepEqual(list.map((m) => m.id), [model]);
  const shown = await client.models.retrieve(model);
  assert.equal(shown.object, 'model');
  assert.equal(shown.id, model);
  const error = await failure(client.models.retrieve('other/model'));
  assert.equal(error.status, 404);
  assert.equal(error.code, 'model_not_found');
  assert.match(error.message, new RegExp(`there is "${model}"`));
});

test('completions of text and tokens', async () => {
  const answer = await complete({ user: 'x' });
  assert.equal(answer.object, 'text_completion');
  assert.equal(answer.choices.length, 1);
  assert.ok(answer.usage.completion_tokens <= 8);
  const { tokens } = await client.post('/../tokenize', { body: { model, text: 'once' } });
  assert.equal((await complete({ prompt: tokens })).choices[0].text, answer.choices[0].text);
  const many = await complete({ prompt: ['once', 'twice'], n: 2 });
  assert.deepEqual(many.choices.map((c) => c.index), [0, 1, 2, 3]);
  assert.equal(many.choices[0].text, answer.choices[0].text);
  assert.equal((await complete({ prompt: [tokens, tokens] })).choices[1].text, answer.choices[0].text);
  assert.equal((await complete({ echo: true })).choices[0].text, `once${answer.choices[0].text}`);
  assert.equal((await complete({ max_tokens: undefined, logit_bias: { 2: -100 } })).usage.completion_tokens, 16);
});

test('completions in a stream', async () => {
  const whole = await complete({ prompt: ['once', 'twice'] });
  const chunks = await collect(await complete({ prompt: ['once', 'twice'], stream: true, stream_options: { include_usage: true } }));
  const texts = ['', ''];
  for (const chunk of chunks) for (const choice of chunk.choices) texts[choice.index] += choice.text;
  assert.deepEqual(texts, whole.choices.map((c) => c.text));
  assert.deepEqual(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens);
});

test('logprobs of completions', async () => {
  const answer = await complete({ logprobs: 3 });
  const { tokens, token_logprobs, top_logprobs, text_offset } = answer.choices[0].logprobs;
  assert.equal(tokens.length, answer.usage.completion_tokens);
  assert.equal(token_logprobs.length, tokens.length);
  assert.equal(text_offset[0], 0);
  assert.ok(top_logprobs.every((top) => Object.keys(top).length >= 1 && Object.keys(top).length <= 3));
});

test('wrong completions hear why', async () => {
  for (const [more, param] of [[{ prompt: 5 }, 'prompt'], [{ prompt: [] }, 'prompt'], [{ prompt: [[]] }, 'prompt'],
    [{ best_of: 3 }, 'best_of'], [{ suffix: 'x' }, 'suffix'], [{ max_tokens: 0 }, 'max_tokens'], [{ logprobs: 99 }, 'logprobs'],
    [{ user: 5 }, 'user']]) {
    const error = await failure(complete(more));
    assert.equal(error.status, 400, JSON.stringify(more));
    assert.equal(error.param, param);
  }
});

test('embeddings', async () => {
  const embed = (more) => client.embeddings.create({ model, input: 'once upon a time', encoding_format: 'float', ...more });
  const one = await embed({ user: 'x' });
  assert.equal(one.data.length, 1);
  assert.equal(one.data[0].object, 'embedding');
  const [{ embedding }] = one.data;
  assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-5, 'its length is one');
  assert.ok(one.usage.prompt_tokens > 0 && one.usage.total_tokens === one.usage.prompt_tokens);
  const near = (a, b) => a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) < 1e-4);
  const many = await embed({ input: Array.from({ length: 70 }, (_, i) => (i === 69 ? 'once upon a time' : `text ${i}`)) });
  assert.deepEqual(many.data.map((entry) => entry.index), Array.from({ length: 70 }, (_, i) => i));
  assert.ok(near(many.data[69].embedding, embedding), 'the same text is the same vector');
  assert.ok(!near(many.data[0].embedding, embedding));
  const { tokens } = await client.post('/../tokenize', { body: { model, text: 'once upon a time' } });
  assert.ok(near((await embed({ input: tokens })).data[0].embedding, embedding));
  // What the client asks for by itself: base64, which it turns into numbers.
  const usual = await client.embeddings.create({ model, input: 'once upon a time' });
  assert.ok(near(Array.from(usual.data[0].embedding), embedding));
  const raw = await embed({ encoding_format: 'base64' });
  const bytes = Buffer.from(raw.data[0].embedding, 'base64');
  assert.ok(near(embedding.map((_, i) => bytes.readFloatLE(4 * i)), embedding));
  assert.equal((await embed({ dimensions: embedding.length })).data[0].embedding.length, embedding.length);
  for (const [more, param] of [[{ dimensions: 3 }, 'dimensions'], [{ input: [] }, 'input'], [{ encoding_format: 'hex' }, 'encoding_format'],
    [{ input: 'word '.repeat(5000) }, 'input'], [{ input: [99999] }, null]]) {
    const error = await failure(embed(more));
    assert.equal(error.status, 400, JSON.stringify(more).slice(0, 100));
    assert.equal(error.param, param);
  }
});

test('without a good key there is nothing', async () => {
  const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: 'cgk-wrong', maxRetries: 0 });
  const error = await failure(stranger.models.list());
  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, 'invalid_api_key');
});
