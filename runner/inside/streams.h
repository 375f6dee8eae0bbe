#pragma once

#include <cstddef>
#include <cstdint>

namespace corpgrid::runner::inside {

// stdout, stderr and progress of the shards: pipes, whose write ends are file descriptors 1, 2 and
// 3 of the runner itself, so that a shard has them without a system call. What comes out goes to
// the memory file that the host reads (runner/protocol.h); a pipe never fills and no file grows,
// however much a shard says.
class Streams {
 public:
  static constexpr int kCount = 3;  // stdout, stderr, progress

  // Takes the places of 1, 2 and 3, which must be free to use. Ends the runner on failure.
  explicit Streams(int memory_file);

  // Before each shard.
  void Begin(uint32_t sequence, uint64_t log_bytes);

  int read_end(int stream) const { return read_ends_[stream]; }

  // Takes what is in the pipe, at most a megabyte.
  void Drain(int stream);

  // Once nobody writes any more: takes the rest, and undoes what the shard may have done to the
  // pipes' flags.
  void Finish();

  uint64_t written(int stream) const { return written_[stream]; }

 private:
  size_t ReadOnce(int stream);
  void TakeProgress(const char* text, size_t size);
  void PublishLine();
  void Publish(float fraction);

  int memory_file_;
  int read_ends_[kCount];
  uint64_t mapped_bytes_ = 0;
  char* mapped_ = nullptr;
  uint64_t log_bytes_ = 0;
  uint32_t sequence_ = 0;
  uint64_t written_[2] = {};
  char line_[64];  // the number that progress is in the middle of
  size_t line_size_ = 0;
};

}  // namespace corpgrid::runner::inside
