#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corpgrid::inference {

// Turns the bytes of an answer's tokens into text that can be shown: whole characters only, and
// nothing of a stop string. One thread at a time.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds the bytes of a token and returns what can be shown now, which is valid UTF-8: bytes that
  // are no character become U+FFFD. What may be the start of a stop string is kept back.
  std::string Push(std::string_view bytes);

  // Whether a stop string came. The text before it was shown; nothing after it will be.
  bool stopped() const { return stopped_; }

  // The end of the answer: what was kept back.
  std::string Finish();

 private:
  std::string Show(size_t bytes, bool last);

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace corpgrid::inference
