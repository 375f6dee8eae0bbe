// Strings of a schema.
#include <algorithm>
#include <map>
#include <string>

#include "fmt/format.h"
#include "gateway/api_error.h"
#include "gateway/json_schema.h"
#include "gateway/pattern.h"

namespace corpgrid::gateway {
namespace {

using FormatRules = std::map<std::string, std::string, std::less<>>;

// Some values of each format, on which all that check it agree: years from 1000, days that all
// have, hyphens not as in the names that stand for others than ASCII, no more letters than names
// may have.
void AddTimes(FormatRules* formats) {
  const std::string day = R"("0" [1-9] | [12] [0-9])";
  const std::string date =
      fmt::format(R"([1-9] [0-9]{{3}} "-" ( ( "0" [13578] | "1" [02] ) "-" ( {0} | "3" [01] ))"
                  R"( | ( "0" [469] | "11" ) "-" ( {0} | "30" ))"
                  R"( | "02-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] ) ))",
                  day);
  const std::string hours = R"(( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9])";
  const std::string time =
      fmt::format(R"({0} ":" [0-5] [0-9] ( "." [0-9]{{1,9}} )? ( "Z" | [-+] {0} ))", hours);
  formats->emplace("date", date);
  formats->emplace("time", time);
  formats->emplace("date-time", fmt::format(R"({} "T" {})", date, time));
  // A unit is followed by none but the next one: as RFC 3339 has it.
  const std::string n = "[0-9]{1,4}";
  formats->emplace(
      "duration",
      fmt::format(
          R"("P" ( {0} "W" | ( {1} | {2} | {3} ) ( {4} )? | {4} ))", n, fmt::format(R"({} "D")", n),
          fmt::format(R"({0} "M" ( {0} "D" )?)", n),
          fmt::format(R"({0} "Y" ( {0} "M" ( {0} "D" )? )?)", n),
          fmt::format(
              R"("T" ( {0} "S" | {0} "M" ( {0} "S" )? | {0} "H" ( {0} "M" ( {0} "S" )? )? ))", n)));
}

void AddNames(FormatRules* formats) {
  const std::string byte =
      R"(( "25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9] ))";
  formats->emplace("ipv4", fmt::format(R"({0} "." {0} "." {0} "." {0})", byte));
  formats->emplace("ipv6", R"([0-9a-f]{1,4} ( ":" [0-9a-f]{1,4} ){7})");
  formats->emplace(
      "uuid", fmt::format(R"([0-9a-f]{{8}} {0} {0} {0} "-" [0-9a-f]{{12}})", R"("-" [0-9a-f]{4})"));
  const std::string label = R"([a-z0-9]{1,14} ( "-" [a-z0-9]{1,14} ){0,3})";
  const std::string host = fmt::format(R"(( {} "." ){{0,3}} [a-z] [a-z0-9]{{0,14}})", label);
  formats->emplace("hostname", host);
  formats->emplace("email",
                   fmt::format(R"({0} ( "." {0} ){{0,2}} "@" ( {1} "." ){{1,3}} [a-z]{{2,12}})",
                               "[a-zA-Z0-9_+-]{1,20}", label));
  formats->emplace(
      "uri", fmt::format(R"([a-z] [a-z0-9]{{1,9}} "://" {0} ( ":" [1-9] [0-9]{{0,3}} )?)"
                         R"( ( "/" {1} )? ( "?" {1} )? ( "#" {1} )?)",
                         host, R"(( [a-zA-Z0-9._~!$&'()*+,;=:@/-] | "%" [0-9A-F] [0-9A-F] )*)"));
}

const FormatRules& Formats() {
  static const auto& formats = *[] {
    auto* all = new FormatRules();
    AddTimes(all);
    AddNames(all);
    return all;
  }();
  return formats;
}

}  // namespace

absl::StatusOr<std::string> SchemaGrammar::String(const Json& schema, const std::string& path) {
  Fields fields(schema, path);
  const int64_t least = fields.Integer("minLength", 0, 0, kMaxRepeats);
  const int64_t most = std::min(fields.Integer("maxLength", -1, 0, INT64_MAX), kMaxRepeats);
  const std::string pattern = fields.Text("pattern"), format = fields.Text("format");
  const bool has_length = fields.Has("minLength") || fields.Has("maxLength");
  if (has_length + fields.Has("pattern") + fields.Has("format") > 1) {
    fields.Fail("", "may have only one of pattern, format, and a length");
  }
  if (most >= 0 && least > most) fields.Fail("minLength", "is more than maxLength");
  if (fields.Has("format") && !Formats().contains(format)) {
    fields.Fail("format", fmt::format("is \"{}\", which is not supported here", format));
  }
  if (!fields.ok()) return fields.Finish();
  if (fields.Has("format")) {
    const std::string& body = Formats().find(format)->second;
    return fmt::format(R"("\"" {} "\"")", grammar_->Shared("format-" + format, body));
  }
  if (fields.Has("pattern")) {
    absl::StatusOr<std::string> body = PatternToGbnf(pattern, grammar_);
    if (!body.ok()) {
      return BadField(path, fmt::format("{}.pattern \"{}\" {}", path, pattern,
                                        std::string(body.status().message())));
    }
    return fmt::format(R"("\"" {} "\"")", *body);
  }
  if (!has_length) return grammar_->Common("string");
  return fmt::format(R"("\"" {}{{{},{}}} "\"")", grammar_->Common("char"), least,
                     most < 0 ? "" : std::to_string(most));
}

}  // namespace corpgrid::gateway
