#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "corpgrid/v1/worker.pb.h"
#include "gateway/fields.h"
#include "gateway/tools.h"

namespace corpgrid::gateway {

// A request to /v1/chat/completions that makes sense.
struct ChatRequest {
  std::string model;
  std::string messages;  // JSON, for the model's template
  Tools tools;
  corpgrid::v1::GenerateRequest
      generate;  // all but the prompt, the grammar of tools and the client
  bool logprobs = false;
  bool stream = false;
  bool include_usage = false;  // in the stream
};

// Errors: InvalidArgument that names the field.
absl::StatusOr<ChatRequest> ParseChatRequest(const Json& body);

// "stream" and "stream_options". Errors stay in `fields`.
void ReadStream(Fields* fields, bool* stream, bool* include_usage);

// A response_format, or the text.format of a response: text, json_object or json_schema. Errors
// stay in `fields`.
void ReadFormat(Fields* fields, std::string_view name, bool flat,
                corpgrid::v1::GenerateRequest* request);

// What only describes a request: user, safety_identifier, prompt_cache_key and metadata. It changes
// nothing, but has to be of the API's form. Errors stay in `fields`.
void ReadDescription(Fields* fields);

// The messages as templates know them: developers are systems, texts are strings. Errors stay in
// `fields`.
Json ReadMessages(Fields* fields, std::string_view name);

}  // namespace corpgrid::gateway
