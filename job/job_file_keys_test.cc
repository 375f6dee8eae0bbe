// Keys of a job file that say how its results are compared, and when it runs.

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "job/test_job_file.h"

namespace corpgrid::job {
namespace {

TEST(JobFileTest, Validators) {
  const auto parse = [](const std::string& validator) {
    return ParseJobFile(
               "name: x\nrun: {command: [./t]}\noutputs: [o]\nlimits: {output: 1MiB}\n"
               "redundancy: {quorum: 2, validator: " +
                   validator + "}",
               "job.yaml")
        ->fields.redundancy;
  };
  EXPECT_EQ(parse("exact").validator, Validator::kExact);
  const Redundancy numeric = parse("{numeric: json, absolute: 1e-9, relative: 0.001}");
  EXPECT_EQ(numeric.validator, Validator::kNumeric);
  EXPECT_EQ(numeric.tolerance, (Tolerance{NumberFormat::kJson, 1e-9, 0.001}));
  const Redundancy program = parse("{command: [./compare, --loose]}");
  EXPECT_EQ(program.validator, Validator::kProgram);
  EXPECT_EQ(program.compare, (std::vector<std::string>{"./compare", "--loose"}));
  CheckAfterHead({
      {"redundancy: {validator: numeric}",
       "job.yaml:3:25: redundancy.validator: expected exact, {numeric: text, relative: 1e-6} or "
       "{command: [\"./compare\"]}, got \"numeric\""},
      {"redundancy: {validator: {absolute: 1}}",
       "job.yaml:3:25: redundancy.validator: expected either \"numeric:\" (text, csv, json, f32 or "
       "f64) or \"command:\""},
      {"redundancy: {quorum: 2, validator: {numeric: cvs, relative: tiny}}",
       "job.yaml:3:36: redundancy.validator: there is nothing to compare: this job has no outputs\n"
       "job.yaml:3:46: redundancy.validator.numeric: expected one of text, csv, json, f32, f64, "
       "got "
       "\"cvs\"; did you mean csv?\n"
       "job.yaml:3:61: redundancy.validator.relative: expected a number, as in 1e-6, got "
       "\"tiny\""},
      {"relative: 1",
       "job.yaml:3:1: unknown key \"relative\"; did you mean \"relative:\" under "
       "\"redundancy.validator:\"?"},
  });
}

TEST(JobFileTest, TheLimitOfOutputsFollowsTheValidator) {
  const std::string job =
      "name: x\nrun: {command: [./t]}\noutputs: [o]\n"
      "redundancy: {quorum: 2, validator: {numeric: json}}\n";
  const auto file = ParseJobFile(job, "job.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->fields.limits.output_bytes, 16ull << 20);
  EXPECT_EQ(MistakesIn(job + "limits: {output: 17MiB}"),
            "job.yaml:5:18: limits.output: outputs of this validator have at most 16 MiB, got 17 "
            "MiB");
}

TEST(JobFileTest, ABoundInPlaceOfReplicas) {
  const auto job = ParseJobFile(
      "name: x\nrun: {command: [./t]}\noutputs: [o]\nlimits: {output: 1MiB}\n"
      "redundancy: {max_error: 1e-4, validator: {numeric: json}}",
      "job.yaml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->fields.redundancy.max_error, 1e-4);
  const std::string both =
      "redundancy.max_error: with max_error the grid chooses replicas and quorum itself: leave "
      "them "
      "out";
  CheckAfterHead({
      {"redundancy: {max_error: 1e-4, replicas: 2}", "job.yaml:3:25: " + both},
      {"redundancy: {quorum: 1, max_error: 1e-4}", "job.yaml:3:36: " + both},
      {"redundancy: {max_error: 0}",
       "job.yaml:3:25: redundancy.max_error: 0 is promised by nobody; write how many wrong results "
       "will do, as in 1e-4"},
      {"redundancy: {max_error: 1}",
       "job.yaml:3:25: redundancy.max_error: expected a share of the results between 0 and 1, as "
       "in "
       "1e-4, got 1"},
      {"redundancy: {max_error: -0.1}",
       "job.yaml:3:25: redundancy.max_error: expected a share of the results between 0 and 1, as "
       "in "
       "1e-4, got -0.1"},
      {"max_error: 0.1",
       "job.yaml:3:1: unknown key \"max_error\"; did you mean \"max_error:\" under "
       "\"redundancy:\"?"},
      {"redundancy: {max_error: few}",
       "job.yaml:3:25: redundancy.max_error: expected a number, as in 1e-6, got \"few\""},
      {"redundancy: {max_error: 0.1}\nshards: 100001",
       "job.yaml:3:25: redundancy.max_error: a job that asks for it has at most 100000 shards, got "
       "100001"},
  });
}

TEST(JobFileTest, WhenAJobRuns) {
  const auto job = ParseJobFile(
      "name: x\nrun: {command: [./t]}\npriority: -5\nafter: [12, 13]\ndeadline: 2h\nproject: 7",
      "job.yaml");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->fields.priority, -5);
  EXPECT_EQ(job->fields.project, "7");
  EXPECT_EQ(job->fields.after, (std::vector<uint64_t>{12, 13}));
  EXPECT_EQ(job->fields.deadline_ms, 7'200'000);
  EXPECT_EQ(ParseJobFile("name: x\nrun: {command: [./t]}\nafter: 7", "job.yaml")->fields.after,
            std::vector<uint64_t>{7});
  CheckAfterHead({
      {"priority: high",
       "job.yaml:3:11: priority: expected a whole number, as in -5, got \"high\""},
      {"project: a b",
       "job.yaml:3:10: project: the name of a project has 1 to 64 letters, digits, '-', '_' and "
       "'.', and begins with a letter or a digit, got \"a b\""},
      {"priority: 1001", "job.yaml:3:11: priority: expected a number from -1000 to 1000, got 1001"},
      {"after: [build, 3, 3]",
       "job.yaml:3:8: after: job 3 is listed twice\n"
       "job.yaml:3:9: after[0]: expected a whole number, got \"build\""},
      {"after: {job: 3}",
       "job.yaml:3:8: after: expected the numbers of jobs, as in [12, 13], got keys and values"},
      {"deadline: 400d",
       "job.yaml:3:11: deadline: expected a time of at most 366d, got 9600 h 0 min"},
      {"depends_on: 3", "job.yaml:3:1: unknown key \"depends_on\"; did you mean \"after:\"?"},
  });
}

TEST(JobFileTest, WhereAJobMayRun) {
  const std::string job = "name: x\nrun: {command: [./t]}\n";
  const auto file = ParseJobFile(
      job + "placement: {labels: [os=debian12, fast-disk], sites: [Zürich], attested: true}",
      "job.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(
      file->fields.placement,
      (Placement{.labels = {"os=debian12", "fast-disk"}, .sites = {"Zürich"}, .attested = true}));
  CheckAfterHead({
      {"placement: {labels: fast-disk}",
       "job.yaml:3:21: placement.labels: expected a list, got \"fast-disk\"; write it as "
       "[\"fast-disk\"]"},
      {"placement: {labels: [a, \"b c\"]}",
       "job.yaml:3:21: placement.labels: a label has 1 to 64 letters, digits and \"-_./=\", and "
       "begins with a letter or a digit, as in os=debian12; got \"b c\""},
      {"placement: {sites: [a, a]}", "job.yaml:3:20: placement.sites: \"a\" is listed twice"},
      {"labels: [a]",
       "job.yaml:3:1: unknown key \"labels\"; did you mean \"labels:\" under \"placement:\"?"},
  });
}

}  // namespace
}  // namespace corpgrid::job
