#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace corpgrid::testing {

// Runs `child` in a process of its own, kills that (SIGKILL) after `delay` and returns the lines it
// wrote to the descriptor it got, without one that is cut off. Call while no other thread runs.
inline std::vector<std::string> RunAndKill(const std::function<void(int)>& child,
                                           std::chrono::microseconds delay) {
  int pipe_fds[2];
  if (::pipe(pipe_fds) != 0) std::abort();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(pipe_fds[0]);
    child(pipe_fds[1]);
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  std::jthread killer([&] {
    std::this_thread::sleep_for(delay);
    ::kill(pid, SIGKILL);
  });
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(pipe_fds[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(pipe_fds[0]);
  killer.join();
  int status = 0;
  ::waitpid(pid, &status, 0);
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line) && !stream.eof();) lines.push_back(line);
  return lines;
}

// One line, whole or not at all.
inline void WriteLine(int fd, std::string line) {
  line += '\n';
  if (::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(1);
}

}  // namespace corpgrid::testing
