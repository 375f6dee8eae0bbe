#include "runner/sandboxed_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "sandbox/unprivileged.h"

namespace corpgrid::runner {
namespace {

namespace fs = std::filesystem;

// Before any test: the runner where every user can read it, and this process no longer root.
class Unprivileged : public testing::Environment {
 public:
  void SetUp() override {
    char name[] = "/tmp/corpgrid-runner-XXXXXX";
    root = mkdtemp(name);
    fs::copy(fs::read_symlink("/proc/self/exe").parent_path() / "corpgrid-runner", root);
    chmod((root + "/corpgrid-runner").c_str(), 0755);
    if (geteuid() == 0) {
      SandboxOptions options = {.runner_path = root + "/corpgrid-runner",
                                .bundle_dir = "",
                                .input_dir = "",
                                .disk_bytes = 1 << 20,
                                .memory_bytes = 1 << 20,
                                .processes = 1};
      status_as_root = Session::Start(options).status();
    }
    auto user = sandbox::BecomeUnprivileged(root);
    ASSERT_TRUE(user.ok()) << user.status();
  }
  void TearDown() override {
    std::error_code error;  // where /tmp is not everyone's, the empty folder stays
    fs::remove_all(root, error);
  }

  static std::string root;
};

std::string Unprivileged::root;

[[maybe_unused]] testing::Environment* const kRegistered =
    testing::AddGlobalTestEnvironment(new Unprivileged);

}  // namespace

std::optional<absl::Status> status_as_root;

std::set<pid_t> MyProcesses() {
  std::set<pid_t> mine;
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    pid_t pid = atoi(it->path().filename().c_str());
    struct stat status;
    // A zombie runs nothing; it waits for whoever may never come in a container without init.
    if (pid <= 0 || pid == getpid() || stat(it->path().c_str(), &status) != 0) continue;
    std::string state(4096, '\0');
    FILE* file = fopen((it->path() / "stat").c_str(), "r");
    if (file == nullptr) continue;
    state.resize(fread(state.data(), 1, state.size(), file));
    fclose(file);
    size_t paren = state.rfind(')');
    if (paren == std::string::npos || state[paren + 2] == 'Z') continue;
    // Processes that are not dumpable show root as their owner: their real user is in status.
    FILE* details = fopen((it->path() / "status").c_str(), "r");
    if (details == nullptr) continue;
    char line[256];
    unsigned uid = 0;
    while (fgets(line, sizeof line, details) != nullptr) {
      if (sscanf(line, "Uid: %u", &uid) == 1) break;
    }
    fclose(details);
    if (uid == getuid()) mine.insert(pid);
  }
  return mine;
}

SandboxedTest::SandboxedTest() {
  std::string name = Unprivileged::root + "/test-XXXXXX";
  folder_ = mkdtemp(name.data());
}

SandboxedTest::~SandboxedTest() {
  session_.reset();
  EXPECT_EQ(LeftOver(0), std::set<pid_t>());
  fs::remove_all(folder_);
}

SandboxOptions SandboxedTest::Options() const {
  return {.runner_path = Unprivileged::root + "/corpgrid-runner",
          .bundle_dir = "",
          .input_dir = "",
          .disk_bytes = 32 << 20,
          .memory_bytes = 256 << 20,
          .processes = 64};
}

void SandboxedTest::Start(const SandboxOptions& options) {
  auto session = Session::Start(options);
  ASSERT_TRUE(session.ok()) << session.status();
  session_ = *std::move(session);
}

SandboxedTest::Result SandboxedTest::Run(const std::vector<std::string>& argv, int64_t wall_ms) {
  if (session_ == nullptr) Start(Options());
  ShardRequest request;
  request.argv = argv;
  request.wall_ms = wall_ms;
  auto exit = session_->Run(request);
  EXPECT_TRUE(exit.ok()) << exit.status();
  if (!exit.ok()) return {};
  return {*exit, session_->Stdout(1 << 20), session_->Stderr(1 << 20)};
}

SandboxedTest::Result SandboxedTest::Shell(const std::string& script, int64_t wall_ms) {
  return Run({"/bin/sh", "-c", script}, wall_ms);
}

SandboxedTest::Result SandboxedTest::Python(const std::string& program, int64_t wall_ms) {
  return Run({"/usr/bin/python3", "-c", program}, wall_ms);
}

std::set<pid_t> SandboxedTest::LeftOver(int64_t wait_ms) const {
  auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  for (;;) {
    std::set<pid_t> left = MyProcesses();
    for (pid_t pid : before_) left.erase(pid);
    if (left.empty() || std::chrono::steady_clock::now() >= until) return left;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace corpgrid::runner
