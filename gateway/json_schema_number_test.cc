#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "fmt/format.h"
#include "gateway/test_json_schema.h"

namespace corpgrid::gateway {
namespace {

TEST(JsonSchemaNumberTest, IntegerRangesAreExact) {
  std::mt19937 random(20260101);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 300; ++i) {
    const int64_t width = int64_t{1} << (random() % 20);
    const int64_t a = static_cast<int64_t>(random() % (2 * width)) - width;
    const int64_t b = a + static_cast<int64_t>(random() % (2 * width));
    const TestGrammar grammar("root ::= " + IntegerRange(a, b) + "\n");
    std::vector<int64_t> tries = {a - 1, a, a + 1, (a + b) / 2, b - 1, b, b + 1, -a, -b, 0, a * 10};
    for (int n = 0; n < 20; ++n)
      tries.push_back(a - width + static_cast<int64_t>(random() % (4 * width)));
    for (const int64_t value : tries) {
      EXPECT_EQ(grammar.Matches(std::to_string(value)), a <= value && value <= b)
          << value << " in " << a << " to " << b;
    }
    EXPECT_FALSE(grammar.Matches("-0"));
    EXPECT_FALSE(grammar.Matches("007"));
  }
}

TEST(JsonSchemaNumberTest, IntegersHaveBounds) {
  Expect(R"({"type": "integer", "minimum": 3, "exclusiveMaximum": 12})", {"3", "11"}, {"2", "12"});
  Expect(R"({"type": "integer", "exclusiveMinimum": -5})", {"-4", "999999"}, {"-5"});
  Expect(R"({"type": "integer"})", {"-0", "12"}, {"1.5", "01", "+1"});
  Expect(R"({"type": "integer", "minimum": 0.5, "maximum": 2.5})", {"1", "2"}, {"0", "3"});
  Expect(R"({"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991})",
         {"0", "-7", "999999999999999", "-999999999999999"}, {"9999999999999999", "1.5", "01"});
  Expect(R"({"type": "integer", "exclusiveMinimum": 0, "maximum": 1e300})",
         {"1", "999999999999999"}, {"0", "-1", "9999999999999999"});
  ExpectError(R"({"type": "integer", "minimum": 5, "maximum": 4})", "no whole number");
  ExpectError(R"({"type": "integer", "exclusiveMinimum": 5, "maximum": 5.9})", "no whole number");
  ExpectError(R"({"type": "integer", "minimum": 1e16})", "no whole number");
  ExpectError(R"({"type": "integer", "maximum": -1e16})", "no whole number");
  ExpectError(R"({"type": "number", "exclusiveMinimum": 999999999999999})", "leaves no number");
  ExpectError(R"({"type": "number", "exclusiveMaximum": -999999999999999})", "leaves no number");
  ExpectError(R"({"type": "integer", "exclusiveMinimum": true})", "has to be a number");
}

TEST(JsonSchemaNumberTest, NumbersHaveBounds) {
  Expect(R"({"type": "number", "minimum": 0})", {"0", "1.5e2"}, {"-1"});
  Expect(R"({"type": "number", "maximum": 5})", {"5", "5.00", "4.99", "0", "-0.0", "-123456.5"},
         {"5.01", "6", "50", "1e9", "4.", "05"});
  Expect(R"({"type": "number", "minimum": 0, "maximum": 1})",
         {"0", "1", "1.0", "0.5", "0.999999999999"}, {"1.1", "1.000000000001", "-0.1", "2", "10"});
  Expect(R"({"type": "number", "exclusiveMinimum": 0})",
         {"0.1", "0.000000000001", "3", "12.5", "999999999999999.5"}, {"0", "0.0", "-1", "-0.5"});
  Expect(R"({"type": "number", "exclusiveMaximum": 0})", {"-0.1", "-3"}, {"0", "-0", "-0.0", "1"});
  Expect(R"({"type": "number", "minimum": -0.25, "exclusiveMaximum": 0.5})",
         {"0.49", "-0.25", "-0.2", "-0.0", "0"}, {"0.5", "0.50", "-0.26", "-0.3", "-1", "1"});
  Expect(R"({"type": "number", "minimum": 1.5})", {"1.5", "1.50", "2", "15"}, {"1.4", "1", "0.5"});
  Expect(R"({"type": "number", "minimum": 1, "exclusiveMinimum": 1})", {"1.1", "2"}, {"1", "1.0"});
  Expect(R"({"type": "number", "minimum": -1e300, "maximum": 1e300})", {"0", "-12.5"}, {"1e5"});
  Expect(R"({"type": "number", "maximum": 999999999999999})", {"999999999999999", "-1"},
         {"999999999999999.5"});
  Expect(R"({"type": ["number", "string"], "maximum": 5})", {"5", R"("6")"}, {"6"});
  ExpectError(R"({"type": "number", "minimum": 2, "maximum": 1})", "no number of at most 12");
  ExpectError(R"({"type": "number", "exclusiveMinimum": 1, "maximum": 1})", "no number of at most");
  ExpectError(R"({"type": "number", "minimum": 0.1234567890123, "maximum": 0.1234567890124})",
              "no number of at most");
  ExpectError(R"({"type": "number", "minimum": 1e16})", "no number of at most");
  ExpectError(R"({"type": "number", "maximum": "5"})", "has to be a number");
}

// In steps of 1/10,000, as they are written with all their decimals.
std::string Decimal(int64_t steps) {
  return fmt::format("{}{}.{:04}", steps < 0 ? "-" : "", std::abs(steps) / 10'000,
                     std::abs(steps) % 10'000);
}

TEST(JsonSchemaNumberTest, NumberRangesAreExact) {
  std::mt19937 random(20260102);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 200; ++i) {
    const int64_t width = int64_t{1} << (2 + random() % 28);
    const auto some = [&] { return static_cast<int64_t>(random() % (2 * width)) - width; };
    int64_t a = some(), b = some();
    for (int64_t* end : {&a, &b}) {
      if (random() % 3 == 0) *end -= *end % 10'000;
    }
    if (a > b) std::swap(a, b);
    if (b - a < 2) continue;  // exclusive bounds would leave nothing
    const bool above = random() % 2 == 0, below = random() % 2 == 0;
    const std::string schema = fmt::format(R"({{"type": "number", "{}": {}, "{}": {}}})",
                                           above ? "exclusiveMinimum" : "minimum", Decimal(a),
                                           below ? "exclusiveMaximum" : "maximum", Decimal(b));
    const auto grammar = GrammarOf(schema);
    ASSERT_TRUE(grammar.ok()) << schema << ": " << grammar.status();
    std::vector<int64_t> tries = {a - 1, a, a + 1, (a + b) / 2, b - 1, b, b + 1, -a, -b, 0, a * 10};
    for (int n = 0; n < 20; ++n) tries.push_back(some());
    for (const int64_t n : tries) {
      EXPECT_EQ(grammar->Matches(Decimal(n)), (above ? a < n : a <= n) && (below ? n < b : n <= b))
          << Decimal(n) << " of " << schema;
    }
    const double least = std::stod(Decimal(a)), most = std::stod(Decimal(b));
    for (int n = 0; n < 20; ++n) {
      const std::string text = grammar->Write(&random);
      ASSERT_TRUE(Json::accept(text)) << text << " of " << schema;
      const auto value = Json::parse(text).get<double>();
      EXPECT_TRUE((above ? least < value : least <= value) &&
                  (below ? value < most : value <= most))
          << text << " of " << schema;
    }
  }
}

}  // namespace
}  // namespace corpgrid::gateway
