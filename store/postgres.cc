#include "store/postgres.h"

#include <poll.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "fmt/format.h"

namespace corpgrid::postgres {
namespace {

// A server that is gone is noticed within seconds, also when no packet comes back. A session that
// sleeps within a transaction holds what others wait for. A server that acknowledges before its
// disk has the commit would break every promise.
constexpr char kConnectTimeoutS[] = "5";
constexpr char kTcpUserTimeoutMs[] = "10000";
constexpr char kSetUp[] =
    "SET client_min_messages = error;"
    "SET idle_in_transaction_session_timeout = '10s';"
    "SET tcp_user_timeout = '10s';"
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'";

absl::StatusCode CodeOf(std::string_view state) {
  const std::string_view kind = state.substr(0, 2);
  if (state == "42501" || state == "25006" || kind == "28") {
    return absl::StatusCode::kPermissionDenied;
  }
  if (kind == "53" && state != "53300") return absl::StatusCode::kResourceExhausted;
  if (kind == "XX" && state != "XX000") return absl::StatusCode::kDataLoss;
  if (kind == "54") return absl::StatusCode::kResourceExhausted;
  if (kind == "22" || kind == "23" || kind == "42") return absl::StatusCode::kInternal;
  if (kind == "3D") return absl::StatusCode::kFailedPrecondition;
  return absl::StatusCode::kUnavailable;
}

// libpq's guesses about the cause follow on lines of their own.
std::string FirstLine(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

// A row of the result that libpq gave last, each value in the binary format.
class ResultColumns final : public store::Columns {
 public:
  ResultColumns(const PGresult* result, int row) : result_(result), row_(row) {}
  bool IsNull(int column) const override { return PQgetisnull(result_, row_, column) != 0; }
  int64_t Int(int column) const override {
    const std::string_view bytes = Bytes(column);
    if (bytes.empty()) return 0;
    // Big-endian, two's complement; smallint and integer are shorter than eight bytes.
    uint64_t value = (static_cast<uint8_t>(bytes[0]) & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
    return static_cast<int64_t>(value);
  }
  std::string_view Bytes(int column) const override {
    return {PQgetvalue(result_, row_, column),
            static_cast<size_t>(PQgetlength(result_, row_, column))};
  }

 private:
  const PGresult* const result_;
  const int row_;
};

}  // namespace

absl::Status Connection::Lost(std::string_view why) {
  const std::string reason = FirstLine(why);
  connection_.reset();
  return absl::UnavailableError(fmt::format("{}: {}", name_, reason));
}

bool Connection::lost() const {
  return connection_ == nullptr || PQstatus(connection_.get()) != CONNECTION_OK;
}

bool Connection::LostMeanwhile() {
  constexpr int kLooks = 2;  // at the server's last words, then at the end
  for (int i = 0; i < kLooks && !lost(); ++i) PQconsumeInput(connection_.get());
  return lost();
}

absl::StatusOr<Connection> Connection::Open(const std::string& url, int answer_timeout_ms) {
  char* wrong = nullptr;
  PQconninfoOption* const options = PQconninfoParse(url.c_str(), &wrong);
  if (options == nullptr) {
    // libpq's message quotes the URL, and that may hold a password.
    PQfreemem(wrong);
    return absl::InvalidArgumentError(
        "the store's URL cannot be read; it looks like postgres://USER@HOST:PORT/DATABASE");
  }
  PQconninfoFree(options);
  // What the URL says comes last and counts.
  const std::array names = {"connect_timeout",
                            "tcp_user_timeout",
                            "keepalives_idle",
                            "client_encoding",
                            "fallback_application_name",
                            "dbname",
                            static_cast<const char*>(nullptr)};
  const std::array values = {kConnectTimeoutS,
                             kTcpUserTimeoutMs,
                             "5",
                             "UTF8",
                             "corpgrid",
                             url.c_str(),
                             static_cast<const char*>(nullptr)};
  Connection connection(PQconnectdbParams(names.data(), values.data(), 1), answer_timeout_ms);
  PGconn* const raw = connection.connection_.get();
  const auto text = [](const char* given) { return given == nullptr ? "" : given; };
  connection.name_ = fmt::format("PostgreSQL database \"{}\" at {}:{}", text(PQdb(raw)),
                                 text(PQhost(raw)), text(PQport(raw)));
  if (connection.lost()) {
    const absl::Status status = connection.Lost(PQerrorMessage(raw));
    const bool missing = status.message().find("does not exist") != std::string_view::npos;
    return missing ? absl::FailedPreconditionError(status.message()) : status;
  }
  RETURN_IF_ERROR(connection.SetUp());
  return connection;
}

absl::Status Connection::SetUp() {
  const std::string encoding = PQparameterStatus(connection_.get(), "server_encoding");
  if (encoding != "UTF8") {
    return absl::FailedPreconditionError(fmt::format(
        "{}: its text is {}, not UTF8; create it with ENCODING 'UTF8'", name_, encoding));
  }
  if (PQsetnonblocking(connection_.get(), 1) != 0) return Lost(PQerrorMessage(connection_.get()));
  return RunScript(kSetUp);
}

absl::Status Connection::ErrorOf(const PGresult* result) {
  const auto field = [&](int code) -> std::string {
    const char* text = PQresultErrorField(result, code);
    return text == nullptr ? "" : text;
  };
  broken_constraint_ = field(PG_DIAG_CONSTRAINT_NAME);
  const std::string state = field(PG_DIAG_SQLSTATE);
  if (state.empty()) return Lost(PQresultErrorMessage(result));
  std::string message = fmt::format("{}: {}", name_, field(PG_DIAG_MESSAGE_PRIMARY));
  if (const std::string detail = field(PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
    message += fmt::format(" ({})", detail);
  }
  return absl::Status(CodeOf(state), message);
}

absl::StatusOr<Connection::Result> Connection::NextResult() {
  PGconn* const raw = connection_.get();
  while (PQisBusy(raw) != 0) {
    const int unsent = PQflush(raw);
    if (unsent < 0) return Lost(PQerrorMessage(raw));
    pollfd socket = {.fd = PQsocket(raw),
                     .events = static_cast<int16_t>(unsent > 0 ? POLLIN | POLLOUT : POLLIN),
                     .revents = 0};
    const int ready = ::poll(&socket, 1, answer_timeout_ms_);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Lost(fmt::format("no answer within {} ms", answer_timeout_ms_));
    // The server's last words, if any, are a result like any other.
    if ((socket.revents & ~POLLOUT) != 0 && PQconsumeInput(raw) == 0) break;
  }
  Result result(PQgetResult(raw));
  if (!result && lost()) return Lost(PQerrorMessage(raw));
  return result;
}

absl::Status Connection::Finish(const store::OnRow& on_row) {
  absl::Status status;
  for (;;) {
    const absl::StatusOr<Result> result = NextResult();
    if (!result.ok()) return status.ok() ? result.status() : status;
    if (!*result) return status;
    const ExecStatusType kind = PQresultStatus(result->get());
    if (kind == PGRES_SINGLE_TUPLE) {
      if (status.ok() && on_row) status = on_row(ResultColumns(result->get(), 0));
    } else if (kind != PGRES_COMMAND_OK && kind != PGRES_TUPLES_OK) {
      status = ErrorOf(result->get());
      if (lost()) return status;
    }
  }
}

absl::Status Connection::FinishPipeline() {
  absl::Status status;
  for (;;) {
    const absl::StatusOr<Result> result = NextResult();
    if (!result.ok()) return status.ok() ? result.status() : status;
    if (!*result) continue;  // the end of one statement's results
    const ExecStatusType kind = PQresultStatus(result->get());
    if (kind == PGRES_PIPELINE_SYNC) return status;
    if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK || kind == PGRES_PIPELINE_ABORTED) {
      continue;
    }
    if (status.ok()) status = ErrorOf(result->get());
    if (lost()) return status;
  }
}

absl::Status Connection::RunScript(const std::string& sql) {
  if (lost()) return Lost("the session has ended");
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) {
    return Lost(PQerrorMessage(connection_.get()));
  }
  return Finish(nullptr);
}

absl::Status Connection::PrepareOnce(const Statement& statement) {
  if (names_.contains(statement.sql)) return absl::OkStatus();
  std::vector<Oid> types;
  for (const Parameter& parameter : statement.parameters) types.push_back(parameter.oid());
  const std::string name = fmt::format("s{}", names_.size());
  if (PQsendPrepare(connection_.get(), name.c_str(), statement.sql.c_str(),
                    static_cast<int>(types.size()), types.data()) == 0) {
    return Lost(PQerrorMessage(connection_.get()));
  }
  RETURN_IF_ERROR(Finish(nullptr));
  names_.emplace(statement.sql, name);
  return absl::OkStatus();
}

absl::Status Connection::Send(const Statement& statement) {
  const size_t count = statement.parameters.size();
  std::vector<std::string> bytes;
  for (const Parameter& parameter : statement.parameters) bytes.push_back(parameter.Encoded());
  std::vector<const char*> values;
  std::vector<int> lengths;
  const std::vector<int> binary(count, 1);
  for (const std::string& value : bytes) {
    values.push_back(value.data());
    lengths.push_back(static_cast<int>(value.size()));
  }
  if (PQsendQueryPrepared(connection_.get(), names_.at(statement.sql).c_str(),
                          static_cast<int>(count), values.data(), lengths.data(), binary.data(),
                          1) == 0) {
    return Lost(PQerrorMessage(connection_.get()));
  }
  return absl::OkStatus();
}

absl::Status Connection::Run(std::span<const Statement> statements) {
  if (lost()) return Lost("the session has ended");
  for (const Statement& statement : statements) RETURN_IF_ERROR(PrepareOnce(statement));
  PGconn* const raw = connection_.get();
  if (PQenterPipelineMode(raw) == 0) return Lost(PQerrorMessage(raw));
  for (const Statement& statement : statements) RETURN_IF_ERROR(Send(statement));
  if (PQpipelineSync(raw) == 0) return Lost(PQerrorMessage(raw));
  const absl::Status status = FinishPipeline();
  if (!lost() && PQexitPipelineMode(raw) == 0) return Lost(PQerrorMessage(raw));
  return status;
}

absl::Status Connection::Ask(std::string_view sql, std::span<const int64_t> numbers,
                             const store::OnRow& on_row) {
  if (lost()) return Lost("the session has ended");
  Statement statement{.sql = std::string(sql), .parameters = {}};
  for (const int64_t number : numbers) statement.parameters.push_back(Parameter::Number(number));
  RETURN_IF_ERROR(PrepareOnce(statement));
  RETURN_IF_ERROR(Send(statement));
  PQsetSingleRowMode(connection_.get());  // or libpq would keep the whole answer in memory
  return Finish(on_row);
}

absl::Status ReadPool::Ask(std::string_view sql, std::span<const int64_t> numbers,
                           const store::OnRow& on_row) {
  for (;;) {
    std::optional<Connection> connection;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        connection = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    const bool kept = connection.has_value();
    if (!kept) {
      ASSIGN_OR_RETURN(connection, Connection::Open(url_));
    }
    bool heard = false;
    const absl::Status status = connection->Ask(sql, numbers, [&](const store::Columns& columns) {
      heard = true;
      return on_row(columns);
    });
    if (connection->lost() && kept && !heard) continue;
    const std::lock_guard lock(mutex_);
    if (!connection->lost() && idle_.size() < kMaxIdle) idle_.push_back(*std::move(connection));
    return status;
  }
}

}  // namespace corpgrid::postgres
