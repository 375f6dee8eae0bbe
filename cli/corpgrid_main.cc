#include <string>
#include <vector>

#include "cli/app.h"

int main(int argc, char** argv) {
  return corpgrid::cli::Run(std::vector<std::string>(argv, argv + argc));
}
