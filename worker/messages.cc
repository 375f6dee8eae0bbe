#include "worker/messages.h"

#include <algorithm>
#include <thread>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;

void FillLogprob(const inference::TokenLogprob& token, const inference::Vocabulary& vocabulary,
                 pb::TokenLogprob* message) {
  message->set_token(token.token);
  message->set_logprob(token.logprob);
  message->set_piece(vocabulary.Piece(token.token, /*control=*/true));
}

inference::Sampling ToSampling(const pb::Sampling& message, uint64_t seed) {
  inference::Sampling sampling;
  sampling.temperature = message.temperature();
  sampling.top_k = message.top_k();
  sampling.top_p = message.has_top_p() ? message.top_p() : 1;
  sampling.min_p = message.min_p();
  sampling.presence_penalty = message.presence_penalty();
  sampling.frequency_penalty = message.frequency_penalty();
  for (const pb::LogitBias& bias : message.logit_bias()) {
    sampling.logit_bias.emplace_back(bias.token(), bias.bias());
  }
  sampling.seed = message.has_seed() ? message.seed() : seed;
  sampling.logprobs = message.logprobs() || message.top_logprobs() > 0;
  sampling.top_logprobs = message.top_logprobs();
  return sampling;
}

}  // namespace

absl::StatusOr<pb::LoadRequest> FillIn(pb::LoadRequest request) {
  if (request.path().empty()) {
    return absl::InvalidArgumentError("no model is named: path is empty");
  }
  if (request.sequences() == 0) request.set_sequences(16);
  if (request.step_tokens() == 0) request.set_step_tokens(std::max(512u, request.sequences()));
  if (request.step_tokens_beside_answers() == 0) request.set_step_tokens_beside_answers(256);
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  if (request.threads() == 0) request.set_threads(cores);
  if (request.threads() > 512) {
    return absl::InvalidArgumentError(
        fmt::format("{} threads are asked for; at most 512 are possible", request.threads()));
  }
  return request;
}

absl::StatusOr<inference::Request> ToRequest(const pb::GenerateRequest& message,
                                             const inference::Vocabulary& vocabulary,
                                             uint64_t seed) {
  inference::Request request;
  request.client = message.client();
  switch (message.prompt_case()) {
    case pb::GenerateRequest::kText: {
      ASSIGN_OR_RETURN(request.prompt,
                       vocabulary.Tokenize(message.text(), /*add_start=*/true, message.special()));
      break;
    }
    case pb::GenerateRequest::kTokens:
      request.prompt.assign(message.tokens().tokens().begin(), message.tokens().tokens().end());
      break;
    case pb::GenerateRequest::PROMPT_NOT_SET:
      return absl::InvalidArgumentError("there is no prompt: neither text nor tokens");
  }
  request.sampling = ToSampling(message.sampling(), seed);
  request.choices = message.choices() == 0 ? 1 : message.choices();
  request.max_tokens = message.max_tokens();
  request.stop.assign(message.stop().begin(), message.stop().end());
  request.show_control = message.show_control();
  request.ignore_end = message.ignore_end();
  request.grammar =
      message.json_object() ? std::string(inference::kJsonGrammar) : message.grammar();
  return request;
}

void Fill(const inference::Delta& delta, const inference::Vocabulary& vocabulary,
          pb::Piece* piece) {
  piece->set_choice(delta.choice);
  piece->set_text(delta.text);
  FillLogprob(delta.token.chosen, vocabulary, piece->mutable_token());
  for (const inference::TokenLogprob& token : delta.token.likeliest) {
    FillLogprob(token, vocabulary, piece->add_likeliest());
  }
}

void Fill(const inference::End& end, pb::AnswerEnd* message) {
  message->set_choice(end.choice);
  message->set_reason(end.finish == inference::Finish::kLength ? pb::AnswerEnd::LENGTH
                                                               : pb::AnswerEnd::STOP);
  message->set_text(end.text);
  message->set_prompt_tokens(end.usage.prompt_tokens);
  message->set_reused_tokens(end.usage.reused_tokens);
  message->set_answer_tokens(end.usage.answer_tokens);
}

void Fill(const HostedModel& model, pb::LoadResponse* message) {
  pb::ModelFacts* facts = message->mutable_facts();
  facts->set_name(model.facts.name);
  facts->set_architecture(model.facts.architecture);
  facts->set_quantisation(model.facts.quantisation);
  facts->set_parameters(model.facts.parameters);
  facts->set_weight_bytes(model.facts.weight_bytes);
  facts->set_trained_context(model.facts.trained_context);
  facts->set_layers(model.facts.layers);
  facts->set_embedding(model.facts.embedding);
  facts->set_heads(model.facts.heads);
  facts->set_kv_heads(model.facts.kv_heads);
  facts->set_vocabulary(model.facts.vocabulary);
  facts->set_chat_template(model.facts.chat_template);
  facts->set_reuses_prefixes(model.facts.reuses_prefixes);
  facts->set_only_embeds(model.facts.only_embeds);
  pb::MemoryEstimate* estimate = message->mutable_estimate();
  estimate->set_weight_bytes(model.estimate.weight_bytes);
  estimate->set_kv_bytes(model.estimate.kv_bytes);
  estimate->set_compute_bytes(model.estimate.compute_bytes);
  estimate->set_process_bytes(model.estimate.process_bytes);
  estimate->set_gpu_bytes(model.estimate.gpu_bytes);
  message->set_sequences(model.sequences);
  message->set_context(model.context);
  message->set_library(model.library);
  message->set_gpu(model.gpu);
  message->set_why_no_gpu(model.why_no_gpu);
}

void Fill(const inference::EngineStats& stats, pb::GetStatsResponse* message) {
  message->set_running(stats.running);
  message->set_waiting(stats.waiting);
  message->set_used_cells(stats.used_cells);
  message->set_all_cells(stats.all_cells);
  message->set_steps(stats.steps);
  message->set_computed_tokens(stats.computed_tokens);
  message->set_reused_tokens(stats.reused_tokens);
  message->set_answer_tokens(stats.answer_tokens);
  message->set_preemptions(stats.preemptions);
}

}  // namespace corpgrid::worker
