// Asks a server to continue random texts, from many clients at once, and prints how fast it was:
//   bench_serve_load unix:PATH|PORT|PORT/KEY CLIENTS REQUESTS PROMPT SHARED ANSWER SEED
//                    [PROMPTS LENGTH SECONDS]
// unix:PATH is a worker's socket, PORT a llama-server's own API, PORT/KEY an OpenAI API.
// Each of CLIENTS makes REQUESTS requests one after the other, of PROMPT tokens, the first SHARED
// of them the same in all, for ANSWER tokens. PROMPTS more clients ask for one token after LENGTH
// others again and again, and after SECONDS the first go away before they have all they want.

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

// Hears how many tokens came, as they come; false: it wants no more.
using OnTokens = std::function<bool(uint32_t)>;

// A client with a connection of its own.
class Client {
 public:
  virtual ~Client() = default;
  virtual void Generate(const Request& request, const OnTokens& on_tokens) = 0;
};

class WorkerClient final : public Client {
 public:
  explicit WorkerClient(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = pb::Worker::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  void Generate(const Request& request, const OnTokens& on_tokens) override {
    pb::GenerateRequest message;
    message.mutable_tokens()->mutable_tokens()->Add(request.prompt.begin(), request.prompt.end());
    message.set_max_tokens(request.answer_tokens);
    message.set_ignore_end(true);
    grpc::ClientContext context;
    const auto stream = stub_->Generate(&context, message);
    pb::GenerateResponse response;
    while (stream->Read(&response)) {
      const auto tokens = static_cast<uint32_t>(response.pieces_size());
      if (tokens > 0 && !on_tokens(tokens)) context.TryCancel();
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED) {
      Die(status.error_message());
    }
  }

 private:
  std::unique_ptr<pb::Worker::Stub> stub_;
};

// An API over HTTP that takes tokens as prompts; a server-sent event a token.
class HttpClient : public Client {
 public:
  struct Api {
    std::string path, headers;
    std::string token, end;  // what an event with a token has, and the last one
  };

  HttpClient(uint16_t port, Api api) : port_(port), api_(std::move(api)) {}

  virtual nlohmann::json BodyOf(const Request& request) const = 0;

  void Generate(const Request& request, const OnTokens& on_tokens) override {
    const std::string body = BodyOf(request).dump();
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      Die("the server does not answer");
    }
    const std::string head =
        "POST " + api_.path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
        api_.headers +
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n";
    const std::string all = head + body;
    for (size_t sent = 0; sent < all.size();) {
      const ssize_t n = send(connection, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) Die("the server closed the connection");
      sent += static_cast<size_t>(n);
    }
    ReadEvents(connection, request.answer_tokens, on_tokens);
    close(connection);
  }

 private:
  // Tokens without a whole character have no event of their own: they count with the next one.
  void ReadEvents(int connection, uint32_t wanted, const OnTokens& on_tokens) const {
    std::string text;
    char buffer[16384];
    ssize_t n;
    uint32_t seen = 0;
    bool ended = false;
    while ((n = recv(connection, buffer, sizeof buffer, 0)) > 0) {
      text.append(buffer, static_cast<size_t>(n));
      uint32_t tokens = 0;
      for (size_t at; (at = text.find(api_.token)) != std::string::npos; ++tokens) {
        text.erase(0, at + api_.token.size());
      }
      if (!ended && text.find(api_.end) != std::string::npos) {
        ended = true;
        if (seen + tokens < wanted) tokens = wanted - seen;
      }
      if (tokens > 0 && !on_tokens(tokens)) return;
      seen += tokens;
    }
    if (!ended) Die("the server: " + text.substr(0, 500));
  }

  const uint16_t port_;
  const Api api_;
};

class LlamaServerClient final : public HttpClient {
 public:
  explicit LlamaServerClient(uint16_t port)
      : HttpClient(port, {"/completion", "", "\"stop\":false", "\"stop\":true"}) {}

  nlohmann::json BodyOf(const Request& request) const override {
    return {{"prompt", request.prompt}, {"n_predict", request.answer_tokens},
            {"temperature", 0},         {"ignore_eos", true},
            {"cache_prompt", true},     {"stream", true}};
  }
};

class OpenAiClient final : public HttpClient {
 public:
  OpenAiClient(uint16_t port, const std::string& key)
      : HttpClient(port, {"/v1/completions", "Authorization: Bearer " + key + "\r\n",
                          "\"finish_reason\":null", "\"finish_reason\":\"length\""}) {}

  nlohmann::json BodyOf(const Request& request) const override {
    return {
        {"model", "model"}, {"prompt", request.prompt},    {"max_tokens", request.answer_tokens},
        {"temperature", 0}, {"logit_bias", {{"2", -100}}},  // it does not end
        {"stream", true}};
  }
};

struct Options {
  std::string target;
  uint32_t clients, requests, prompt, shared, answer, seed, prompts = 0, length = 0, seconds = 0;
};

std::unique_ptr<Client> MakeClient(const std::string& target) {
  if (target.starts_with("unix:")) return std::make_unique<WorkerClient>(target);
  const auto port = static_cast<uint16_t>(std::stoi(target));
  const size_t slash = target.find('/');
  if (slash == std::string::npos) return std::make_unique<LlamaServerClient>(port);
  return std::make_unique<OpenAiClient>(port, target.substr(slash + 1));
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
  Clock::time_point first = Clock::time_point::max();  // token

  void Add(const Seen& other) {
    first_ms.insert(first_ms.end(), other.first_ms.begin(), other.first_ms.end());
    gaps_ms.insert(gaps_ms.end(), other.gaps_ms.begin(), other.gaps_ms.end());
    tokens += other.tokens;
    first = std::min(first, other.first);
  }
};

// Until `end` at the latest.
Seen Ask(Client* client, const Request& request, Clock::time_point end = Clock::time_point::max()) {
  Seen seen;
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  client->Generate(request, [&](uint32_t tokens) {
    const Clock::time_point now = std::min(Clock::now(), end);
    const double ms = std::chrono::duration<double, std::milli>(now - last).count();
    if (seen.tokens == 0) {
      seen.first = now;
      seen.first_ms.push_back(ms);
    } else {
      seen.gaps_ms.push_back(ms);  // at the end one that was at least so long
    }
    if (now == end) return false;
    // What comes together came together.
    for (uint32_t i = 1; i < tokens; ++i) seen.gaps_ms.push_back(0);
    seen.tokens += tokens;
    last = now;
    return true;
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
  std::atomic<double> prompts_seconds = 0;  // until the last of them was answered
  Clock::time_point begin, end = Clock::time_point::max();
  for (uint32_t i = 0; i < options.clients; ++i) {
    threads.emplace_back([&, i] {
      const auto client = MakeClient(options.target);
      start.arrive_and_wait();
      for (uint32_t n = 0; n < options.requests; ++n) {
        const Seen one = Ask(client.get(), MakeRequest(options, i * options.requests + n), end);
        if (one.tokens != options.answer && options.seconds == 0) {
          Die(std::to_string(one.tokens) + " tokens came of " + std::to_string(options.answer));
        }
        seen[i].Add(one);
      }
    });
  }
  std::vector<std::thread> others;
  for (uint32_t i = 0; i < options.prompts; ++i) {
    others.emplace_back([&, i] {
      const auto client = MakeClient(options.target);
      for (uint32_t n = 0; !over; ++n) {
        Ask(client.get(), {Words(options.seed + 1000 * (i + 1) + n, options.length), 1});
        if (over) return;
        ++prompts;
        prompts_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      }
    });
  }
  begin = Clock::now();
  if (options.seconds > 0) end = begin + std::chrono::seconds(options.seconds);
  start.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  const Clock::time_point ended = Clock::now();
  over = true;
  const double prompt_rate = prompts > 0 ? prompts * options.length / prompts_seconds : 0;
  for (std::thread& thread : others) thread.join();
  Seen all;
  for (const Seen& one : seen) all.Add(one);
  const double seconds = std::chrono::duration<double>(ended - begin).count();
  // The first tokens are of the prompts' time, which is not that of the others.
  const double answering = std::chrono::duration<double>(ended - all.first).count();
  const double prompt_tokens = 1.0 * options.clients * options.requests * options.prompt;
  std::printf("%s\n", nlohmann::json{{"seconds", seconds},
                                     {"tokens", all.tokens},
                                     {"answer_rate", all.gaps_ms.size() / answering},
                                     {"total_rate", (all.tokens + prompt_tokens) / seconds},
                                     {"first_ms", At(all.first_ms, 0.5)},
                                     {"first_p99_ms", At(all.first_ms, 0.99)},
                                     {"gap_ms", At(all.gaps_ms, 0.5)},
                                     {"gap_p99_ms", At(all.gaps_ms, 0.99)},
                                     {"other_prompt_rate", prompt_rate}}
                          .dump()
                          .c_str());
}

}  // namespace

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", 0);
  if (argc != 8 && argc != 11) return 2;
  const auto number = [&](int i) { return static_cast<uint32_t>(std::atoi(argv[i])); };
  Options options = {argv[1], number(2), number(3), number(4), number(5), number(6), number(7)};
  if (argc == 11) {
    options.prompts = number(8);
    options.length = number(9);
    options.seconds = number(10);
  }
  Run(options);
}
