#pragma once

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "spdlog/spdlog.h"
#include "store/postgres.h"

namespace corpgrid::store::testing {

// A PostgreSQL server of Debian's package in a folder of its own, reached through a socket in it.
// It starts with the first database that is asked for and ends with the program, whatever becomes
// of that. What goes wrong with it ends the program.
class PostgresServer {
 public:
  // One a program, because it takes a second to make. Started again by the next NewDatabase or
  // Start after a Stop.
  static PostgresServer& Shared() {
    static PostgresServer server(Flush::kNo);
    spdlog::set_level(spdlog::level::err);  // every store that is opened warns of it
    return server;
  }

  // Whether commits are flushed to the disk. Tests stop processes, not the machine, and on a busy
  // disk they take twice as long with it.
  enum class Flush { kNo, kYes };
  explicit PostgresServer(Flush flush) : flush_(flush) {}
  PostgresServer(const PostgresServer&) = delete;
  ~PostgresServer() {
    Stop(SIGINT);
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  // The URL of an empty database.
  std::string NewDatabase() {
    Start();
    const std::string name = fmt::format("grid{}", ++databases_);
    Sql(UrlOf("postgres"), fmt::format("CREATE DATABASE {}", name));
    return UrlOf(name);
  }

  static void Sql(const std::string& url, const std::string& script) {
    absl::StatusOr<postgres::Connection> db = postgres::Connection::Open(url);
    Require(db.ok(), db.status().ToString());
    const absl::Status status = db->RunScript(script);
    Require(status.ok(), fmt::format("{}\n{}", status.ToString(), script));
  }

  // The rows of a table.
  static int64_t Count(const std::string& url, const std::string& table) {
    absl::StatusOr<postgres::Connection> db = postgres::Connection::Open(url);
    Require(db.ok(), db.status().ToString());
    int64_t count = -1;
    const absl::Status status =
        db->Ask("SELECT COUNT(*) FROM " + table, {}, [&](const Columns& columns) {
          count = columns.Int(0);
          return absl::OkStatus();
        });
    Require(status.ok(), status.ToString());
    return count;
  }

  void Start() {
    if (pid_ != 0) return;
    if (folder_.empty()) MakeCluster();
    pid_ = Spawn({Binary("postgres"), "-D", folder_ + "/data", "-k", folder_, "-c",
                  "listen_addresses=", "-c", "max_connections=50", "-c",
                  flush_ == Flush::kYes ? "fsync=on" : "fsync=off"});
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!postgres::Connection::Open(UrlOf("postgres")).ok()) {
      Require(std::chrono::steady_clock::now() < end, "the server does not start\n" + Log());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  // SIGINT ends sessions and shuts down, SIGQUIT stops as a crash does.
  void Stop(int signal) {
    if (pid_ == 0) return;
    ::kill(pid_, signal);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  static void Require(bool fine, const std::string& otherwise) {
    if (fine) return;
    fmt::print(stderr, "PostgresServer: {}\n", otherwise);
    std::abort();
  }

  static std::string Binary(const std::string& name) {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
      found.push_back(entry.path() / "bin" / name);
    }
    return found.empty() ? name : *std::max_element(found.begin(), found.end());
  }

  std::string UrlOf(const std::string& database) const {
    return fmt::format("postgres://corpgrid@/{}?host={}", database, folder_);
  }

  void MakeCluster() {
    folder_ = "/var/tmp/corpgrid-postgres-XXXXXX";
    Require(::mkdtemp(folder_.data()) != nullptr, "cannot make " + folder_);
    ::chmod(folder_.c_str(), 0711);
    if (::geteuid() == 0) {  // for which the server refuses to run
      const passwd* const user = ::getpwnam("postgres");
      Require(user != nullptr, "there is no user postgres: run ./dev setup");
      uid_ = user->pw_uid;
      gid_ = user->pw_gid;
      Require(::chown(folder_.c_str(), uid_, gid_) == 0, "cannot give away " + folder_);
    }
    int status = -1;
    ::waitpid(Spawn({Binary("initdb"), "-D", folder_ + "/data", "-U", "corpgrid", "-A", "trust",
                     "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"}),
              &status, 0);
    Require(status == 0, "initdb failed\n" + Log());
  }

  // Runs a program as the server's user; it is stopped should this process die.
  pid_t Spawn(const std::vector<std::string>& words) {
    std::vector<std::string> all = {"setpriv", "--pdeathsig", "QUIT"};
    if (::geteuid() == 0) {
      for (const std::string& word :
           {fmt::format("--reuid={}", uid_), fmt::format("--regid={}", gid_),
            std::string("--clear-groups")}) {
        all.push_back(word);
      }
    }
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& word : all) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log = folder_ + "/log";
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    if (::chdir("/") != 0) ::_exit(126);
    ::execvp("setpriv", argv.data());
    ::_exit(127);
  }

  std::string Log() const {
    std::ifstream in(folder_ + "/log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  const Flush flush_;
  std::string folder_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  pid_t pid_ = 0;
  int databases_ = 0;
};

}  // namespace corpgrid::store::testing
