#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "gateway/api_error.h"
#include "gateway/json_schema.h"
#include "gateway/test_gbnf.h"

namespace corpgrid::gateway {

inline absl::StatusOr<TestGrammar> GrammarOf(const std::string& schema) {
  const Json json = Json::parse(schema);
  Gbnf grammar;
  ASSIGN_OR_RETURN(const std::string rule, SchemaGrammar(json, "schema", &grammar).Build());
  ASSIGN_OR_RETURN(const std::string text, grammar.Text(rule, "schema"));
  return TestGrammar(text);
}

// That the grammar of a schema takes the good texts, which are JSON, and none of the bad.
inline void Expect(const std::string& schema, const std::vector<std::string>& good,
                   const std::vector<std::string>& bad) {
  const auto grammar = GrammarOf(schema);
  ASSERT_TRUE(grammar.ok()) << schema << ": " << grammar.status();
  for (const std::string& text : good) {
    EXPECT_TRUE(grammar->Matches(text)) << text << " is of " << schema;
    EXPECT_TRUE(Json::accept(text)) << text;
  }
  for (const std::string& text : bad) EXPECT_FALSE(grammar->Matches(text)) << text << " " << schema;
}

inline void ExpectError(const std::string& schema, const std::string& part) {
  const auto grammar = GrammarOf(schema);
  ASSERT_FALSE(grammar.ok()) << schema.substr(0, 1000);
  EXPECT_THAT(std::string(grammar.status().message()), ::testing::HasSubstr(part))
      << schema.substr(0, 1000);
  EXPECT_EQ(HttpStatusOf(grammar.status()), 400u);
}

}  // namespace corpgrid::gateway
