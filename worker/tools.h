#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace corpgrid::worker {

// What the worker program does with model files beside hosting one, as subcommands: each says what
// it found as JSON, an object a line, {"progress": 0..1} on the way, {"result": …} or {"error":
// {"code", "message"}} at the end. When one was given, `tool` runs it and returns the exit code.
void AddTools(CLI::App* app, std::function<int()>* tool);

}  // namespace corpgrid::worker
