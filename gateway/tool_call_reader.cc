#include "gateway/tool_call_reader.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "gateway/text_until.h"

namespace corpgrid::gateway {

std::vector<ToolCallReader::Part> ToolCallReader::Push(std::string_view text) {
  held_ += text;
  std::vector<Part> parts;
  for (bool more = true; more;) {
    switch (state_) {
      case State::kText:
        more = ReadText(&parts);
        break;
      case State::kOpening:
        more = ReadOpening();
        break;
      case State::kName:
        more = ReadName(&parts);
        break;
      case State::kAfterName:
        more = held_.size() >= format_.after_name.size();
        if (more) {
          held_.erase(0, format_.after_name.size());
          state_ = State::kArguments;
        }
        break;
      case State::kArguments:
        more = ReadArguments(&parts);
        break;
    }
  }
  return parts;
}

void ToolCallReader::ShowText(size_t bytes, std::vector<Part>* parts) {
  if (bytes == 0) return;
  at_start_ = false;
  parts->push_back({Part::Kind::kText, 0, held_.substr(0, bytes)});
  held_.erase(0, bytes);
}

bool ToolCallReader::ReadText(std::vector<Part>* parts) {
  const bool may_come = format_.anywhere || at_start_;
  const size_t found = may_come ? held_.find(format_.marker) : std::string::npos;
  if (found != std::string::npos && (format_.anywhere || found == 0)) {
    ShowText(found, parts);
    state_ = State::kOpening;
    return true;
  }
  // The end of what is held may be the beginning of the marker.
  size_t keep = may_come ? BeginningOf(format_.marker, held_) : 0;
  if (!format_.anywhere && keep < held_.size()) keep = 0;
  ShowText(held_.size() - keep, parts);
  return false;
}

bool ToolCallReader::ReadOpening() {
  const size_t found = held_.find(format_.open);
  if (found == std::string::npos) return false;
  held_.erase(0, found + format_.open.size());
  state_ = State::kName;
  return true;
}

bool ToolCallReader::ReadName(std::vector<Part>* parts) {
  const auto end = std::find_if(held_.begin(), held_.end(), [](unsigned char c) {
    return std::isalnum(c) == 0 && c != '_' && c != '-';
  });
  if (end == held_.end()) return false;
  parts->push_back({Part::Kind::kName, calls_++, std::string(held_.begin(), end)});
  if (format_.tagged) {
    const auto function =
        std::find_if(tools_.functions.begin(), tools_.functions.end(),
                     [&](const auto& one) { return one.name == parts->back().text; });
    tagged_.emplace(function == tools_.functions.end() ? nullptr : &*function);
  }
  held_.erase(held_.begin(), end);
  state_ = State::kAfterName;
  depth_ = 0;
  in_string_ = escaped_ = false;
  return true;
}

bool ToolCallReader::ReadArguments(std::vector<Part>* parts) {
  if (tagged_) {
    std::string json = tagged_->Read(&held_);
    if (!json.empty()) parts->push_back({Part::Kind::kArguments, calls_ - 1, std::move(json)});
    if (tagged_->over()) state_ = State::kOpening;
    return tagged_->over();
  }
  size_t at = 0;
  bool over = false;
  for (; at < held_.size() && !over; ++at) {
    const char c = held_[at];
    if (escaped_) {
      escaped_ = false;
    } else if (in_string_) {
      escaped_ = c == '\\';
      in_string_ = c != '"';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      over = --depth_ == 0;
    }
  }
  if (at > 0) parts->push_back({Part::Kind::kArguments, calls_ - 1, held_.substr(0, at)});
  held_.erase(0, at);
  if (over) state_ = State::kOpening;
  return over;
}

std::vector<ToolCallReader::Part> ToolCallReader::Finish() {
  std::vector<Part> parts;
  if (state_ == State::kText) ShowText(held_.size(), &parts);
  return parts;
}

}  // namespace corpgrid::gateway
