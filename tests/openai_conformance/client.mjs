// The official client, unmodified, as the tests beside this file use it. OPENAI_MODULES: the folder with its node_modules.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.OPENAI_MODULES}/`);
export const OpenAI = require('openai').OpenAI;
export const model = process.env.OPENAI_MODEL;
export const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  maxRetries: 0,
  timeout: 120_000,
});

export const user = (content) => [{ role: 'user', content }];

// All chunks of a stream.
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

// The error of a request that has to fail.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}
