#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gateway/chat_deltas.h"
#include "gateway/fields.h"

namespace corpgrid::gateway {

// Writes an answer as /v1/responses has it: as events while it comes, and as a whole. One thread.
class ResponseWriter {
 public:
  using Event = std::pair<std::string, std::string>;  // its name and its data

  // `response`: the fields that do not change.
  ResponseWriter(Json response, std::string id);

  std::vector<Event> Begin();
  std::vector<Event> Add(const ChatDeltas::Delta& delta);
  // `usage`: as the chat API has it.
  std::vector<Event> End(const Json& usage);

  // After End(): the whole response.
  const Json& response() const { return response_; }

 private:
  void Emit(const char* type, const Json& data);
  void EmitOfItem(const char* type, const Json& data);
  void OpenText();
  void OpenCall(const Json& call);
  void CloseItem();

  Json response_;
  const std::string id_;
  std::vector<Event> events_;
  Json item_;  // that is being written; null: none
  std::string finish_reason_;
  uint64_t sequence_ = 0;
};

}  // namespace corpgrid::gateway
