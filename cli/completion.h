#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace corpgrid::cli {

// Where in the tree of commands a command line has got to.
struct Place {
  const CLI::App* app = nullptr;
  const CLI::Option* pending = nullptr;  // an option whose value comes next
  size_t positionals = 0;                // given so far
  std::string unknown;                   // the first word that does not belong there; "" for none
};

Place FindPlace(const CLI::App& root, const std::vector<std::string>& words);

// The names of an app's visible commands and options ("--out").
std::vector<std::string> CommandNames(const CLI::App& app);
std::vector<std::string> OptionNames(const CLI::App& app);

// The values of a kind that only the grid knows: "JOB" or "DEVICE". May be slow, may be empty.
using ValuesOf = std::function<std::vector<std::string>(const std::string& kind)>;

// What may stand for the last of `words`, which is not complete. "<files>" and "<folders>" stand
// for what the shell itself knows.
std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words,
                                  const ValuesOf& values_of);

}  // namespace corpgrid::cli
