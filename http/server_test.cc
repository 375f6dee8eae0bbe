#include "http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <thread>

#include "fmt/format.h"

namespace corpgrid::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorText(unsigned status, std::string_view message) {
  return fmt::format("{}: {}", status, message);
}

// A client that writes bytes and reads until the server closes, or until some text came.
class Client {
 public:
  explicit Client(uint16_t port) : socket_(context_) {
    socket_.connect({asio::ip::address_v4::loopback(), port});
  }
  void Write(std::string_view bytes) {
    boost::system::error_code ignored;  // the server may have closed already
    asio::write(socket_, asio::buffer(bytes.data(), bytes.size()), ignored);
  }
  std::string ReadAll() { return ReadUntil(""); }
  std::string ReadUntil(const std::string& text) {
    std::string got;
    char part[4096];
    boost::system::error_code error;
    while (!error && (text.empty() || got.find(text) == std::string::npos)) {
      got.append(part, socket_.read_some(asio::buffer(part), error));
    }
    return got;
  }
  void Close() { socket_.close(); }

 private:
  asio::io_context context_;
  tcp::socket socket_;
};

class ServerTest : public ::testing::Test {
 protected:
  void Start(Limits limits = {}) {
    Router router;
    router.Add("POST", "/echo", [](Exchange& exchange) -> Task<void> {
      Response response{.body = "<" + exchange.request().body + ">"};
      co_await exchange.Send(std::move(response));
    });
    router.Add("GET", "/models/{name}", [](Exchange& exchange) -> Task<void> {
      Response response{.body = exchange.request().parameter, .content_type = "text/plain"};
      co_await exchange.Send(std::move(response));
    });
    router.Add("HEAD", "/head", [](Exchange& exchange) -> Task<void> {
      Response response{.body = "body"};
      co_await exchange.Send(std::move(response));
    });
    router.Add("GET", "/events", [](Exchange& exchange) -> Task<void> {
      Headers headers;
      co_await exchange.BeginEvents(std::move(headers));
      co_await exchange.SendEvent("", "one");
      co_await exchange.SendEvent("named", "two");
      co_await exchange.EndEvents();
    });
    router.Add("GET", "/wait", [this](Exchange& exchange) { return Wait(&exchange); });
    router.Add("GET", "/throw", [](Exchange&) -> Task<void> {
      throw std::runtime_error("a bug");
      co_return;
    });
    auto server = Server::Start({.limits = limits, .error_body = ErrorText}, std::move(router));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // Waits until it is cancelled, or let go on.
  Task<void> Wait(Exchange* exchange) {
    ++waiting_;
    struct Gone {
      std::atomic<int>* count;
      ~Gone() { ++*count; }
    } const gone{&gone_};
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (!go_on_) {
      timer.expires_after(std::chrono::milliseconds(2));
      co_await timer.async_wait(asio::use_awaitable);
    }
    Response response{.body = "waited"};
    co_await exchange->Send(std::move(response));
  }

  std::string Ask(const std::string& bytes) {
    Client client(server_->port());
    client.Write(bytes);
    return client.ReadAll();
  }
  static void Await(const std::function<bool()>& what) {
    while (!what()) std::this_thread::yield();
  }

  std::atomic<int> waiting_ = 0, gone_ = 0;
  std::atomic<bool> go_on_ = false;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersOneRequestAfterTheOther) {
  Start();
  Client client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.Write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    const std::string got = client.ReadUntil("<hi>");
    EXPECT_THAT(got, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(got, HasSubstr("X-Request-Id: req_"));
  }
  // Two at once.
  const std::string one = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n";
  client.Write(one + "\r\n1" + one + "Connection: close\r\n\r\n2");
  const std::string got = client.ReadAll();
  EXPECT_THAT(got, HasSubstr("<1>"));
  EXPECT_THAT(got, EndsWith("<2>"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\n3"),
              AllOf(StartsWith("HTTP/1.0 200"), EndsWith("<3>")));
}

TEST_F(ServerTest, FindsRoutes) {
  Start();
  const std::string end = " HTTP/1.1\r\nConnection: close\r\n\r\n";
  EXPECT_THAT(Ask("GET /models/org/a%20b?x=y" + end), EndsWith("org/a b"));
  EXPECT_THAT(Ask("GET /models/" + end), HasSubstr("404: there is no /models/"));
  const std::string wrong = Ask("GET /echo" + end);
  EXPECT_THAT(wrong, StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(wrong, HasSubstr("Allow: POST\r\n"));
  EXPECT_THAT(Ask("GET /%zz" + end), HasSubstr("400: the path has a broken %"));
}

TEST_F(ServerTest, HeadGetsTheLengthAndNoBody) {
  Start();
  const std::string end = " HTTP/1.1\r\nConnection: close\r\n\r\n";
  EXPECT_THAT(Ask("HEAD /head" + end),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\nContent-Length: 4\r\n\r\n")));
  const std::string wrong = Ask("HEAD /echo" + end);
  EXPECT_THAT(wrong, AllOf(StartsWith("HTTP/1.1 405"), EndsWith("\r\n\r\n")));
}

TEST_F(ServerTest, StreamsEvents) {
  Start();
  EXPECT_THAT(
      Ask("GET /events HTTP/1.1\r\nConnection: close\r\n\r\n"),
      EndsWith("\r\n\r\nb\r\ndata: one\n\n\r\n18\r\nevent: named\ndata: two\n\n\r\n0\r\n\r\n"));
  EXPECT_THAT(Ask("GET /events HTTP/1.0\r\n\r\n"),
              EndsWith("\r\n\r\ndata: one\n\nevent: named\ndata: two\n\n"));
}

TEST_F(ServerTest, RefusesWhatIsTooLargeOrNoRequest) {
  Start({.header_bytes = 1000, .body_bytes = 100});
  const std::string large = Ask("POST /echo HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
  EXPECT_THAT(large, StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(large, EndsWith("413: the body has more than 100 bytes"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n" +
                  std::string(0x80, 'a') + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\nX: " + std::string(2000, 'a') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Ask("garbage\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_EQ(Ask("GET /throw HTTP/1.1\r\n\r\n"), "");
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
                  "Connection: close\r\n\r\n1"),
              StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
}

TEST_F(ServerTest, EndsConnectionsOfSlowClients) {
  Start({.idle_ms = 60'000, .header_ms = 50, .body_ms = 50});
  EXPECT_EQ(Ask("GET /ev"), "");
  EXPECT_EQ(Ask("POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"), "");
  Start({.idle_ms = 50});
  EXPECT_EQ(Ask(""), "");
}

TEST_F(ServerTest, AClientThatGoesCancelsItsHandler) {
  Start();
  for (int i = 1; i <= 20; ++i) {
    Client client(server_->port());
    client.Write("GET /wait HTTP/1.1\r\n\r\n");
    Await([&] { return waiting_ == i; });
    client.Close();
    Await([&] { return gone_ == i; });
  }
  Await([&] { return server_->connections() == 0; });
}

TEST_F(ServerTest, HasABoundOnConnections) {
  Start({.connections = 2});
  Client first(server_->port()), second(server_->port());
  Await([&] { return server_->connections() == 2; });
  EXPECT_THAT(Ask(""), AllOf(StartsWith("HTTP/1.1 503 Service Unavailable\r\n"),
                             HasSubstr("X-Request-Id: req_"), HasSubstr("Retry-After: 1\r\n"),
                             HasSubstr("Connection: close\r\n"),
                             EndsWith("\r\n\r\n503: too many connections; try again later")));
  first.Close();
  Await([&] { return server_->connections() == 1; });
  second.Write("GET /models/a HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(second.ReadAll(), EndsWith("a"));
}

TEST_F(ServerTest, StopsWhenWhatRunsIsAnswered) {
  Start();
  Client busy(server_->port()), idle(server_->port());
  busy.Write("GET /wait HTTP/1.1\r\n\r\n");
  Await([&] { return waiting_ == 1 && server_->connections() == 2; });
  std::thread stopping([&] { server_->Stop(60'000); });
  EXPECT_EQ(idle.ReadAll(), "");
  go_on_ = true;
  EXPECT_THAT(busy.ReadAll(), EndsWith("waited"));
  stopping.join();
  EXPECT_EQ(server_->connections(), 0u);
}

TEST_F(ServerTest, StopsWhatTakesTooLong) {
  Start();
  Client client(server_->port());
  client.Write("GET /wait HTTP/1.1\r\n\r\n");
  Await([&] { return waiting_ == 1; });
  server_->Stop(10);
  EXPECT_EQ(gone_, 1);
}

TEST(ServerStartTest, SaysWhyItCannotListen) {
  const auto start = [](std::string address, uint16_t port) {
    return Server::Start({.address = std::move(address), .port = port, .error_body = ErrorText},
                         {});
  };
  EXPECT_THAT(start("nowhere", 0).status().message(), HasSubstr("is no IP address"));
  const auto first = start("127.0.0.1", 0);
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(start("127.0.0.1", (*first)->port()).status().message(), HasSubstr("already in use"));
}

}  // namespace
}  // namespace corpgrid::http
