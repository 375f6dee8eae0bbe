#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "inference/chat.h"

namespace minja {
class chat_template;
}

namespace corpgrid::inference {

// A model's own way to write a conversation down (Jinja, by minja). Any thread.
class ChatTemplate {
 public:
  // `start` and `end`: the texts of the tokens that begin and end a text; empty where the tokenizer
  // adds them. Errors: InvalidArgument for what is no template.
  static absl::StatusOr<ChatTemplate> Parse(const std::string& source, const std::string& start,
                                            const std::string& end);

  ChatTemplate(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Errors: InvalidArgument for what is no JSON of the right kind, and with the template's words
  // for a conversation that it refuses.
  absl::StatusOr<std::string> Render(const Chat& chat) const;

 private:
  explicit ChatTemplate(std::unique_ptr<minja::chat_template> parsed);

  std::unique_ptr<minja::chat_template> parsed_;
};

}  // namespace corpgrid::inference
