#pragma once

#include <deque>
#include <string>
#include <vector>

#include "corpgrid/v1/worker.pb.h"
#include "gateway/fields.h"
#include "gateway/tool_call_reader.h"

namespace corpgrid::gateway {

// What a worker says of the answers of a chat, in the API's deltas. One thread.
class ChatDeltas {
 public:
  struct Delta {
    uint32_t choice = 0;
    Json delta = Json::object();     // {"content"} or {"tool_calls"}
    Json logprobs = {};              // of the tokens that came with it, or null
    std::string finish_reason = {};  // empty: it goes on
  };

  // `format`: null when there are no tools. `tools` have to outlive it. `id`: the answer's, of
  // which those of calls are made.
  ChatDeltas(uint32_t choices, const ToolFormat* format, const Tools& tools, bool logprobs,
             std::string id);

  std::vector<Delta> Read(const corpgrid::v1::GenerateResponse& response);

 private:
  void Add(uint32_t choice, const std::vector<ToolCallReader::Part>& parts,
           std::vector<Delta>* deltas);
  void AddText(uint32_t choice, const std::string& text, std::vector<Delta>* deltas);

  const bool logprobs_;
  const std::string id_;
  std::deque<ToolCallReader> readers_;  // one a choice; none without tools
};

// Whole answers, put together from deltas.
class ChatChoices {
 public:
  explicit ChatChoices(uint32_t choices) : choices_(choices) {}

  void Add(const ChatDeltas::Delta& delta);
  // The API's "choices".
  Json ToJson() const;

 private:
  struct Choice {
    std::string content;
    bool has_content = false;
    Json tool_calls = Json::array();
    Json logprobs;
    std::string finish_reason;
  };
  std::vector<Choice> choices_;
};

}  // namespace corpgrid::gateway
