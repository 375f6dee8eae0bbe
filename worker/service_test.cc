#include "worker/service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "absl/time/clock.h"
#include "base/testing/temp_folder.h"
#include "worker/test_slow.h"

namespace corpgrid::worker {
namespace {

namespace pb = corpgrid::v1;
using ::testing::HasSubstr;

constexpr int32_t kSlowText = 5;  // the first token of a text whose vector takes a while

// A service behind a real socket, with a test's model: any path but "broken".
class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() : service_([this](const auto& request) { return Host(request); }, &clock_) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = pb::Worker::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }
  ~ServiceTest() override {
    service_.Stop();
    server_->Shutdown();
  }

  absl::StatusOr<HostedModel> Host(const pb::LoadRequest& request) {
    if (request.path() == "broken") return absl::InvalidArgumentError("it is broken");
    HostedModel model;
    model.facts.name = "hash";
    model.render_chat = [](const inference::Chat& chat) -> absl::StatusOr<std::string> {
      if (chat.messages.empty()) return absl::InvalidArgumentError("nothing was said");
      return chat.messages + (chat.begins_answer ? "!" : ".");
    };
    if (request.path() != "mute") {
      model.embed =
          [](std::span<const inference::Token> text) -> absl::StatusOr<std::vector<float>> {
        if (text.empty()) return absl::InvalidArgumentError("an empty text");
        if (text[0] == kSlowText) absl::SleepFor(absl::Milliseconds(5));
        return std::vector<float>{static_cast<float>(text.size()), static_cast<float>(text[0])};
      };
    }
    model.vocabulary = std::make_unique<inference::TestVocabulary>();
    if (request.path() == "thinks") model.vocabulary = std::make_unique<SlowVocabulary>(&slow_);
    model.sequences = request.sequences();
    model.context = request.context();
    if (request.path() == "embeds") return model;
    const inference::KvShape shape{.slots = request.sequences(),
                                   .cells = request.sequences() * request.context(),
                                   .max_sequence = request.context()};
    if (request.path() == "computes") {
      model.decoder = std::make_unique<SlowDecoder>(shape, &slow_);
    } else {
      model.decoder = std::make_unique<inference::TestDecoder>(shape);
    }
    return model;
  }

  grpc::Status Load(const std::string& path = "good", pb::LoadResponse* response = nullptr) {
    pb::LoadRequest request;
    request.set_path(path);
    request.set_sequences(4);
    request.set_context(200'000);
    grpc::ClientContext context;
    pb::LoadResponse ignored;
    return stub_->Load(&context, request, response ? response : &ignored);
  }

  // More than anybody waits for.
  std::unique_ptr<grpc::ClientReader<pb::GenerateResponse>> LongAnswer(
      grpc::ClientContext* context) {
    pb::GenerateRequest request = Ask({1}, 150'000);
    request.set_ignore_end(true);
    return stub_->Generate(context, request);
  }

  static pb::GenerateRequest Ask(std::initializer_list<int32_t> tokens, uint32_t max_tokens) {
    pb::GenerateRequest request;
    for (const int32_t token : tokens) request.mutable_tokens()->add_tokens(token);
    request.set_max_tokens(max_tokens);
    return request;
  }

  struct Answer {
    grpc::Status status;
    std::vector<int32_t> tokens;
    std::string text;
    std::vector<pb::AnswerEnd> ends;
  };
  Answer Generate(const pb::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto stream = stub_->Generate(&context, request);
    Answer answer;
    pb::GenerateResponse response;
    while (stream->Read(&response)) {
      for (const pb::Piece& piece : response.pieces()) {
        answer.tokens.push_back(piece.token().token());
        answer.text += piece.text();
      }
      for (const pb::AnswerEnd& end : response.ends()) {
        answer.text += end.text();
        answer.ends.push_back(end);
      }
    }
    answer.status = stream->Finish();
    return answer;
  }

  pb::GetStatsResponse Stats() {
    grpc::ClientContext context;
    pb::GetStatsResponse response;
    EXPECT_TRUE(stub_->GetStats(&context, {}, &response).ok());
    return response;
  }

  // Of statistics, after minutes of what "thinks" or "computes" does; and then a moment later.
  std::pair<grpc::Status, grpc::Status> AfterMinutesOf(const std::string& path) {
    EXPECT_TRUE(Load(path).ok());
    pb::GenerateRequest request = Ask({1}, 1);
    if (path == "thinks") request.set_grammar("x");
    std::thread client([&] { Generate(request); });
    slow_.begun.WaitForNotification();
    clock_.later_ms = 301'000;
    std::pair<grpc::Status, grpc::Status> statuses;
    pb::GetStatsResponse response;
    grpc::ClientContext during;
    statuses.first = stub_->GetStats(&during, {}, &response);
    slow_.may_end.Notify();
    client.join();
    // The answer goes out a moment before the engine is through with its token.
    const absl::Time until = absl::Now() + absl::Seconds(10);
    do {
      grpc::ClientContext after;
      statuses.second = stub_->GetStats(&after, {}, &response);
    } while (!statuses.second.ok() && absl::Now() < until);
    return statuses;
  }

  SetClock clock_;
  Slow slow_;
  testing::TempFolder folder_;
  const std::string address_ = "unix:" + folder_ / "socket";
  WorkerService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<pb::Worker::Stub> stub_;
};

TEST_F(ServiceTest, StreamsAnAnswer) {
  pb::LoadResponse loaded;
  ASSERT_TRUE(Load("good", &loaded).ok());
  EXPECT_EQ(loaded.facts().name(), "hash");
  EXPECT_EQ(loaded.sequences(), 4u);
  pb::GenerateRequest request = Ask({1, 2, 3}, 30);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.tokens, inference::TestDecoder::Answer({1, 2, 3}, 30));
  ASSERT_EQ(answer.ends.size(), 1u);
  EXPECT_EQ(answer.ends[0].prompt_tokens(), 3u);
  EXPECT_EQ(answer.ends[0].answer_tokens(), answer.tokens.size());
  request.clear_tokens();
  request.set_text("BCD");  // the same tokens
  EXPECT_EQ(Generate(request).text, answer.text);
  EXPECT_GT(Stats().steps(), 0u);
  request.set_grammar("HELLO");
  EXPECT_EQ(Generate(request).text, "HELLO");
}

TEST_F(ServiceTest, WhoThinksForMinutesOfOneTokenIsNotWell) {
  const auto [during, after] = AfterMinutesOf("thinks");
  EXPECT_EQ(during.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(during.error_message(), HasSubstr("at one token for 301 s"));
  EXPECT_TRUE(after.ok()) << after.error_message();
}

TEST_F(ServiceTest, AModelMayComputeForAsLongAsItTakes) {
  const auto [during, after] = AfterMinutesOf("computes");
  EXPECT_TRUE(during.ok()) << during.error_message();
  EXPECT_TRUE(after.ok()) << after.error_message();
}

TEST_F(ServiceTest, WritesConversationsDown) {
  ASSERT_TRUE(Load().ok());
  const auto render = [&](const std::string& messages, bool ends) {
    pb::RenderChatRequest request;
    request.set_messages(messages);
    request.set_ends_with_answer(ends);
    grpc::ClientContext context;
    pb::RenderChatResponse response;
    const grpc::Status status = stub_->RenderChat(&context, request, &response);
    return status.ok() ? response.text() : status.error_message();
  };
  EXPECT_EQ(render("AB", false), "AB!");
  EXPECT_EQ(render("AB", true), "AB.");
  EXPECT_EQ(render("", true), "nothing was said");
}

TEST_F(ServiceTest, SaysWhatIsWrongWithACall) {
  EXPECT_EQ(Generate(Ask({1}, 5)).status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(Load("").error_message(), HasSubstr("path is empty"));
  ASSERT_TRUE(Load().ok());
  EXPECT_THAT(Load().error_message(), HasSubstr("start another one"));
  const auto message = [&](const pb::GenerateRequest& request) {
    const grpc::Status status = Generate(request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(message({}), HasSubstr("there is no prompt"));
  EXPECT_THAT(message(Ask({}, 5)), HasSubstr("there is no prompt"));
  EXPECT_THAT(message(Ask({1000}, 5)), HasSubstr("token 1000"));
  pb::GenerateRequest request = Ask({1}, 5);
  request.mutable_sampling()->set_temperature(-2);
  EXPECT_THAT(message(request), HasSubstr("temperature is -2"));
  request = Ask({1}, 5);
  request.set_choices(1000);
  EXPECT_THAT(message(request), HasSubstr("1000 choices"));
}

TEST_F(ServiceTest, AModelThatCannotBeLoadedIsSaidSo) {
  EXPECT_THAT(Load("broken").error_message(), HasSubstr("it is broken"));
  EXPECT_EQ(Generate(Ask({1}, 5)).status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ServiceTest, ACancelledCallIsComputedNoMore) {
  ASSERT_TRUE(Load().ok());
  grpc::ClientContext context;
  const auto stream = LongAnswer(&context);
  pb::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  while (Stats().running() == 0) std::this_thread::yield();  // they come after the step
  context.TryCancel();
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (Stats().running() > 0) std::this_thread::yield();
  EXPECT_LT(Stats().answer_tokens(), 150'000u);
}

// Clients that come and go at random, some of them in the middle of a stream.
TEST_F(ServiceTest, ManyClientsAtOnceGetTheirOwnAnswers) {
  ASSERT_TRUE(Load().ok());
  std::atomic<int> answered = 0;
  std::vector<std::thread> clients;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    clients.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 25; ++i) {
        const auto first = static_cast<int32_t>(random() % 49);
        const auto second = static_cast<int32_t>(random() % 49);
        const uint32_t most = 1 + random() % 40;
        if (random() % 3 == 0) {
          grpc::ClientContext context;
          const auto stream = stub_->Generate(&context, Ask({first, second}, 10'000));
          pb::GenerateResponse response;
          stream->Read(&response);
          context.TryCancel();
          stream->Finish();
          continue;
        }
        const Answer answer = Generate(Ask({first, second}, most));
        EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
        EXPECT_EQ(answer.tokens, inference::TestDecoder::Answer({first, second}, most));
        ++answered;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(answered, 80);
  while (Stats().running() + Stats().waiting() > 0) std::this_thread::yield();
}

TEST_F(ServiceTest, EmbedsTextsInTheirOrder) {
  ASSERT_TRUE(Load().ok());
  const auto embed = [&](const std::vector<std::vector<int32_t>>& texts,
                         pb::EmbedResponse* response) {
    pb::EmbedRequest request;
    for (const auto& text : texts) {
      request.add_texts()->mutable_tokens()->Add(text.begin(), text.end());
    }
    grpc::ClientContext context;
    return stub_->Embed(&context, request, response);
  };
  pb::EmbedResponse response;
  ASSERT_TRUE(embed({{7, 8}, {9}}, &response).ok());
  ASSERT_EQ(response.embeddings_size(), 2);
  EXPECT_THAT(response.embeddings(0).values(), ::testing::ElementsAre(2, 7));
  EXPECT_THAT(response.embeddings(1).values(), ::testing::ElementsAre(1, 9));
  EXPECT_THAT(embed({{7}, {}}, &response).error_message(), HasSubstr("an empty text"));
  service_.Stop();
  EXPECT_EQ(embed({{7}}, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServiceTest, ManyTextsOfOneClientHoldUpNoOther) {
  ASSERT_TRUE(Load().ok());
  std::atomic<bool> over = false;
  std::thread many([&] {
    pb::EmbedRequest request;
    request.set_client("many");
    for (int i = 0; i < 200; ++i) request.add_texts()->add_tokens(kSlowText);
    grpc::ClientContext context;
    pb::EmbedResponse response;
    EXPECT_TRUE(stub_->Embed(&context, request, &response).ok());
    EXPECT_EQ(response.embeddings_size(), 200);
    over = true;
  });
  while (Stats().embedded_texts() == 0) absl::SleepFor(absl::Milliseconds(1));
  pb::EmbedRequest request;
  request.set_client("few");
  request.add_texts()->add_tokens(7);
  grpc::ClientContext context;
  pb::EmbedResponse response;
  EXPECT_TRUE(stub_->Embed(&context, request, &response).ok());
  EXPECT_FALSE(over);
  many.join();
}

TEST_F(ServiceTest, SaysThatAModelMakesNoEmbeddings) {
  ASSERT_TRUE(Load("mute").ok());
  grpc::ClientContext context;
  pb::EmbedResponse response;
  EXPECT_EQ(stub_->Embed(&context, {}, &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServiceTest, AModelThatOnlyEmbedsIsAskedForNoText) {
  pb::LoadResponse loaded;
  ASSERT_TRUE(Load("embeds", &loaded).ok());
  EXPECT_EQ(loaded.context(), 200'000u);
  EXPECT_THAT(Generate(Ask({1}, 5)).status.error_message(), HasSubstr("only makes embeddings"));
  pb::EmbedRequest request;
  for (const int32_t token : {7, 8}) request.add_texts()->add_tokens(token);
  grpc::ClientContext context;
  pb::EmbedResponse response;
  ASSERT_TRUE(stub_->Embed(&context, request, &response).ok());
  EXPECT_EQ(Stats().embedded_texts(), 2u);
  EXPECT_EQ(Stats().running(), 0u);
}

TEST_F(ServiceTest, StoppingEndsWhatRuns) {
  ASSERT_TRUE(Load().ok());
  grpc::ClientContext context;
  const auto stream = LongAnswer(&context);
  pb::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  service_.Stop();
  while (stream->Read(&response)) {
  }
  EXPECT_THAT(stream->Finish().error_message(), HasSubstr("unloaded"));
  EXPECT_EQ(Generate(Ask({1}, 5)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace corpgrid::worker
