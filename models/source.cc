#include "models/source.h"

#include <algorithm>

#include "base/status_macros.h"
#include "fmt/format.h"
#include "models/http_client.h"

namespace corpgrid::models {
namespace {

constexpr std::string_view kHubScheme = "hf://";
constexpr char kMain[] = "main";

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// `slashes`: they part folders, and stay.
std::string PercentEncoded(std::string_view text, bool slashes) {
  std::string encoded;
  for (const char c : text) {
    encoded += IsPlain(c) || (slashes && c == '/')
                   ? std::string(1, c)
                   : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

bool IsRepoPart(std::string_view part) {
  return !part.empty() && part.size() <= 96 && part != "." && part != ".." &&
         std::all_of(part.begin(), part.end(), [](char c) { return IsPlain(c) && c != '~'; });
}

absl::StatusOr<Source> ParseHub(std::string_view text) {
  Source source = {
      .kind = Source::Kind::kHub, .path = {}, .url = {}, .repo = {}, .revision = kMain};
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format(
        "\"{}{}\" {}; a hub's file is named hf://ORG/REPO/FILE.gguf", kHubScheme, text, why));
  };
  const size_t org = text.find('/');
  const size_t end = org == std::string_view::npos ? org : text.find('/', org + 1);
  if (end == std::string_view::npos || end + 1 == text.size()) return refuse("names no file");
  std::string_view repo = text.substr(0, end);
  if (const size_t at = repo.find('@'); at != std::string_view::npos) {
    source.revision = repo.substr(at + 1);
    repo = repo.substr(0, at);
    if (source.revision.empty()) return refuse("has an empty revision");
  }
  if (repo.size() < org || !IsRepoPart(repo.substr(0, org)) || !IsRepoPart(repo.substr(org + 1))) {
    return refuse("names no repository");
  }
  source.repo = repo;
  source.path = text.substr(end + 1);
  if (("/" + source.path + "/").find("/../") != std::string::npos) return refuse("leaves it");
  return source;
}

}  // namespace

absl::StatusOr<Source> Source::Parse(const std::string& text) {
  if (text.starts_with(kHubScheme)) return ParseHub(std::string_view(text).substr(5));
  if (text.find("://") == std::string::npos) {
    if (text.empty()) return absl::InvalidArgumentError("no file is named");
    return Source{.kind = Kind::kPath, .path = text, .url = {}, .repo = {}, .revision = {}};
  }
  RETURN_IF_ERROR(CheckUrl(text));
  if (PathOfUrl(text).empty() || PathOfUrl(text).ends_with('/')) {
    return absl::InvalidArgumentError(fmt::format("{} names no file", WithoutQuery(text)));
  }
  return Source{
      .kind = Kind::kUrl, .path = PathOfUrl(text), .url = text, .repo = {}, .revision = {}};
}

std::string Source::ToText() const {
  if (kind == Kind::kPath) return path;
  if (kind == Kind::kUrl) return WithoutQuery(url);
  const std::string at = revision == kMain ? "" : "@" + revision;
  return fmt::format("{}{}{}/{}", kHubScheme, repo, at, path);
}

std::string Source::Url(const std::string& hub) const {
  if (kind == Kind::kUrl) return url;
  return fmt::format("{}/{}/resolve/{}/{}", hub, repo, PercentEncoded(revision, false),
                     PercentEncoded(path, true));
}

std::string Source::Page(const std::string& hub) const {
  return kind == Kind::kHub ? fmt::format("{}/{}", hub, repo) : WithoutQuery(url);
}

Source Source::WithFile(const std::string& name) const {
  Source other = *this;
  other.path = path.substr(0, path.find_last_of('/') + 1) + name;
  if (kind == Kind::kUrl) {
    const size_t query = url.find_first_of("?#");
    // Resolved, not glued: a URL may have no path.
    other.url = ResolveUrl(url.substr(0, query), "./" + PercentEncoded(name, false)) +
                (query == std::string::npos ? "" : url.substr(query));
  }
  return other;
}

}  // namespace corpgrid::models
