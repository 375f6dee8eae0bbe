// Asks a server to continue random texts, from many clients at once, and prints how fast it was:
//   bench_serve_load unix:PATH|PORT CLIENTS REQUESTS PROMPT SHARED ANSWER SEED [PROMPTS LENGTH]
// Each of CLIENTS makes REQUESTS requests one after the other, of PROMPT tokens, the first SHARED
// of them the same in all, for ANSWER tokens. PROMPTS more clients ask for one token after LENGTH
// others again and again until the first have all they want.

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "corpgrid/v1/worker.grpc.pb.h"
#include "nlohmann/json.hpp"
#include "rpc/connect.h"

namespace {

namespace pb = corpgrid::v1;
using Clock = std::chrono::steady_clock;

struct Request {
  std::vector<int32_t> prompt;
  uint32_t answer_tokens = 0;
};

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "bench_serve_load: %s\n", why.c_str());
  std::exit(1);
}

// A client with a connection of its own. It calls `on_tokens` with how many came, as they come.
class Client {
 public:
  virtual ~Client() = default;
  virtual void Generate(const Request& request, const std::function<void(uint32_t)>& on_tokens) = 0;
};

class WorkerClient final : public Client {
 public:
  explicit WorkerClient(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = pb::Worker::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  void Generate(const Request& request, const std::function<void(uint32_t)>& on_tokens) override {
    pb::GenerateRequest message;
    message.mutable_tokens()->mutable_tokens()->Add(request.prompt.begin(), request.prompt.end());
    message.set_max_tokens(request.answer_tokens);
    message.set_ignore_end(true);
    grpc::ClientContext context;
    const auto stream = stub_->Generate(&context, message);
    pb::GenerateResponse response;
    while (stream->Read(&response)) {
      if (response.pieces_size() > 0) on_tokens(static_cast<uint32_t>(response.pieces_size()));
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok()) Die(status.error_message());
  }

 private:
  std::unique_ptr<pb::Worker::Stub> stub_;
};

// llama-server's own API, which takes tokens; a server-sent event a token.
class LlamaServerClient final : public Client {
 public:
  explicit LlamaServerClient(uint16_t port) : port_(port) {}

  void Generate(const Request& request, const std::function<void(uint32_t)>& on_tokens) override {
    const std::string body =
        nlohmann::json{{"prompt", request.prompt}, {"n_predict", request.answer_tokens},
                       {"temperature", 0},         {"ignore_eos", true},
                       {"cache_prompt", true},     {"stream", true}}
            .dump();
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      Die("llama-server does not answer");
    }
    const std::string head =
        "POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n";
    const std::string all = head + body;
    for (size_t sent = 0; sent < all.size();) {
      const ssize_t n = send(connection, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) Die("llama-server closed the connection");
      sent += static_cast<size_t>(n);
    }
    ReadEvents(connection, request.answer_tokens, on_tokens);
    close(connection);
  }

 private:
  // Tokens without a whole character have no event of their own: they count with the next one.
  static void ReadEvents(int connection, uint32_t wanted,
                         const std::function<void(uint32_t)>& on_tokens) {
    static constexpr std::string_view kToken = "\"stop\":false", kEnd = "\"stop\":true";
    std::string text;
    char buffer[16384];
    ssize_t n;
    uint32_t seen = 0;
    bool ended = false;
    while ((n = recv(connection, buffer, sizeof buffer, 0)) > 0) {
      text.append(buffer, static_cast<size_t>(n));
      uint32_t tokens = 0;
      for (size_t at; (at = text.find(kToken)) != std::string::npos; ++tokens) {
        text.erase(0, at + kToken.size());
      }
      if (!ended && text.find(kEnd) != std::string::npos) {
        ended = true;
        if (seen + tokens < wanted) tokens = wanted - seen;
      }
      if (tokens > 0) on_tokens(tokens);
      seen += tokens;
    }
    if (!ended) Die("llama-server: " + text.substr(0, 500));
  }

  const uint16_t port_;
};

struct Options {
  std::string target;
  uint32_t clients, requests, prompt, shared, answer, seed, prompts = 0, length = 0;
};

std::unique_ptr<Client> MakeClient(const std::string& target) {
  if (target.starts_with("unix:")) return std::make_unique<WorkerClient>(target);
  return std::make_unique<LlamaServerClient>(static_cast<uint16_t>(std::stoi(target)));
}

// Tokens of the bench's model: words, no control tokens and no bytes.
std::vector<int32_t> Words(uint32_t seed, uint32_t count) {
  std::mt19937 random(seed);
  std::vector<int32_t> words;
  while (count-- > 0) words.push_back(static_cast<int32_t>(300 + random() % 30'000));
  return words;
}

struct Seen {
  std::vector<double> first_ms;  // until the first token of each answer
  std::vector<double> gaps_ms;   // between tokens
  uint64_t tokens = 0;
};

Seen Ask(Client* client, const Request& request) {
  Seen seen;
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  client->Generate(request, [&](uint32_t tokens) {
    const Clock::time_point now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last).count();
    if (seen.tokens == 0) {
      seen.first_ms.push_back(ms);
    } else {
      seen.gaps_ms.push_back(ms);
    }
    // What comes together came together.
    for (uint32_t i = 1; i < tokens; ++i) seen.gaps_ms.push_back(0);
    seen.tokens += tokens;
    last = now;
  });
  return seen;
}

Request MakeRequest(const Options& options, uint32_t number) {
  Request request;
  request.prompt = Words(options.seed, options.shared);
  const auto rest = Words(options.seed * 7919 + number + 1, options.prompt - options.shared);
  request.prompt.insert(request.prompt.end(), rest.begin(), rest.end());
  request.answer_tokens = options.answer;
  return request;
}

double At(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * values.size()))];
}

void Run(const Options& options) {
  std::vector<Seen> seen(options.clients);
  std::vector<std::thread> threads;
  std::barrier start(options.clients + 1);
  std::atomic<bool> over = false;
  std::atomic<uint64_t> prompts = 0;
  for (uint32_t i = 0; i < options.clients; ++i) {
    threads.emplace_back([&, i] {
      const auto client = MakeClient(options.target);
      start.arrive_and_wait();
      for (uint32_t n = 0; n < options.requests; ++n) {
        const Seen one = Ask(client.get(), MakeRequest(options, i * options.requests + n));
        if (one.tokens != options.answer) {
          Die(std::to_string(one.tokens) + " tokens came of " + std::to_string(options.answer));
        }
        seen[i].first_ms.insert(seen[i].first_ms.end(), one.first_ms.begin(), one.first_ms.end());
        seen[i].gaps_ms.insert(seen[i].gaps_ms.end(), one.gaps_ms.begin(), one.gaps_ms.end());
        seen[i].tokens += one.tokens;
      }
    });
  }
  std::vector<std::thread> others;
  for (uint32_t i = 0; i < options.prompts; ++i) {
    others.emplace_back([&, i] {
      const auto client = MakeClient(options.target);
      for (uint32_t n = 0; !over; ++n) {
        Ask(client.get(), {Words(options.seed + 1000 * (i + 1) + n, options.length), 1});
        if (!over) ++prompts;
      }
    });
  }
  start.arrive_and_wait();
  const Clock::time_point begin = Clock::now();
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  over = true;
  const uint64_t prompts_done = prompts;
  for (std::thread& thread : others) thread.join();
  Seen all;
  for (const Seen& one : seen) {
    all.first_ms.insert(all.first_ms.end(), one.first_ms.begin(), one.first_ms.end());
    all.gaps_ms.insert(all.gaps_ms.end(), one.gaps_ms.begin(), one.gaps_ms.end());
    all.tokens += one.tokens;
  }
  const double prompt_tokens = 1.0 * options.clients * options.requests * options.prompt;
  std::printf("%s\n", nlohmann::json{{"seconds", seconds},
                                     {"tokens", all.tokens},
                                     {"answer_rate", all.tokens / seconds},
                                     {"total_rate", (all.tokens + prompt_tokens) / seconds},
                                     {"first_ms", At(all.first_ms, 0.5)},
                                     {"first_p99_ms", At(all.first_ms, 0.99)},
                                     {"gap_ms", At(all.gaps_ms, 0.5)},
                                     {"gap_p99_ms", At(all.gaps_ms, 0.99)},
                                     {"other_prompt_rate", prompts_done * options.length / seconds}}
                          .dump()
                          .c_str());
}

}  // namespace

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", 0);
  if (argc != 8 && argc != 10) return 2;
  const auto number = [&](int i) { return static_cast<uint32_t>(std::atoi(argv[i])); };
  Options options = {argv[1], number(2), number(3), number(4), number(5), number(6), number(7)};
  if (argc == 10) {
    options.prompts = number(8);
    options.length = number(9);
  }
  Run(options);
}
