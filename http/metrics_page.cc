#include "http/metrics_page.h"

#include <utility>

#include "base/status_macros.h"
#include "http/listen.h"

namespace corpgrid::http {

absl::StatusOr<std::unique_ptr<Server>> ServeMetrics(const std::string& listen,
                                                     std::function<std::string()> text) {
  ASSIGN_OR_RETURN(Options options, ParseListen("--metrics", listen));
  options.threads = 1;
  options.limits.connections = 16;
  options.error_body = [](unsigned, std::string_view message) {
    return std::string(message) + "\n";
  };
  Router router;
  router.Add("GET", "/metrics", [text = std::move(text)](Exchange& exchange) -> Task<void> {
    Response response{.body = text(), .content_type = "text/plain; version=0.0.4"};
    return exchange.Send(std::move(response));
  });
  return Server::Start(std::move(options), std::move(router));
}

}  // namespace corpgrid::http
