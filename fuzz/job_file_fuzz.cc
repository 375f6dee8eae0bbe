#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "job/job_file.h"
#include "job/spec.h"

// Whatever the file holds, it is a job or a list of mistakes that has a place for each.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using corpgrid::job::JobSpec;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = corpgrid::job::ParseJobFile(text, "job.yaml");
  if (!file.ok()) {
    std::string_view message(file.status().message().data(), file.status().message().size());
    while (true) {
      if (!message.starts_with("job.yaml:")) std::abort();
      const size_t end = message.find('\n');
      if (end == std::string_view::npos) return 0;
      message.remove_prefix(end + 1);
    }
  }
  // What the parser accepts breaks no rule once its inputs are known.
  corpgrid::job::JobFields fields = file->fields;
  if (!file->inputs_pattern.empty()) {
    fields.inputs = {{"file", {}, 0}};
    fields.shards = 1;
  }
  const auto spec = JobSpec::Make(fields);
  if (!spec.ok()) std::abort();
  if (JobSpec::Decode(spec->Encode()).value() != *spec) std::abort();
  for (const std::string& output : fields.outputs) {
    const std::string name = corpgrid::job::Expand(output, fields, fields.shards - 1);
    if (name.empty() || name.front() == '/' || name.find("/../") != std::string::npos) std::abort();
  }
  return 0;
}
