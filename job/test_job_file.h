#pragma once

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "job/job_file.h"

namespace corpgrid::job {

// What ParseJobFile says of `text`; "" when it takes it.
inline std::string MistakesIn(const std::string& text) {
  return std::string(ParseJobFile(text, "job.yaml").status().message());
}

// The same for what follows two sound lines.
inline std::string MistakesAfterHead(const std::string& text) {
  return MistakesIn("name: x\nrun: {command: [./t]}\n" + text);
}

struct Case {
  std::string text;
  std::string expected;
};

inline void CheckAfterHead(const std::vector<Case>& cases) {
  for (const Case& one : cases) EXPECT_EQ(MistakesAfterHead(one.text), one.expected) << one.text;
}

}  // namespace corpgrid::job
