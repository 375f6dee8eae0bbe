#include "cli/limit_options.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::cli {

absl::StatusOr<resources::Limits> LimitArguments::Parse() const {
  ASSIGN_OR_RETURN(resources::Limits limits, resources::PresetLimits(preset));
  if (!requests_per_second.empty()) {
    double rate = 0;
    if (!absl::SimpleAtod(requests_per_second, &rate) || !(rate >= 0 && rate <= 1e6)) {
      return absl::InvalidArgumentError(fmt::format(
          "--requests-per-second is \"{}\"; a number from 0 (no limit) to 1000000 is expected",
          requests_per_second));
    }
    limits.requests_per_second = rate;
  }
  limits.memory_percent = std::max(1u, limits.memory_percent / one_of);
  limits.requests_per_second /= one_of;
  return limits;
}

void AddLimitOptions(CLI::App* command, const std::string& preset, LimitArguments* arguments) {
  arguments->preset = preset;
  command
      ->add_option("--preset", arguments->preset,
                   "How much of this machine is lent: conservative (somebody works at it), "
                   "balanced or dedicated")
      ->capture_default_str()
      ->type_name("PRESET")
      ->envname("CORPGRID_PRESET");
  command
      ->add_option(
          "--requests-per-second", arguments->requests_per_second,
          "How many shards and answers may begin a second (default: the preset's); 0: no limit")
      ->type_name("N")
      ->envname("CORPGRID_REQUESTS_PER_SECOND");
  command
      ->add_option("--one-of", arguments->one_of,
                   "How many lend of this machine together: this one lends a part of that")
      ->type_name("N")
      ->check(CLI::Range(1, 1000).description(""))
      ->envname("CORPGRID_ONE_OF");
  command
      ->add_flag("--gpus,!--no-gpus", arguments->gpus,
                 "Whether models may be hosted on GPUs (default: yes)")
      ->envname("CORPGRID_GPUS");
  command
      ->add_option(
          "--metrics", arguments->metrics,
          "Where to show what it counts, at /metrics, as 127.0.0.1:9090 (default: nowhere)")
      ->type_name("ADDRESS:PORT")
      ->envname("CORPGRID_METRICS");
}

}  // namespace corpgrid::cli
