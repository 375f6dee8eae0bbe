#pragma once

#include <string>

namespace corpgrid::inference {

// A conversation, as the OpenAI API has it, in JSON.
struct Chat {
  std::string messages;        // a list of {"role": …, "content": …}
  std::string tools = {};      // a list; empty: none
  std::string variables = {};  // an object of what else the template may use; empty: none
  bool begins_answer = true;   // ends with the beginning of the assistant's answer
};

}  // namespace corpgrid::inference
