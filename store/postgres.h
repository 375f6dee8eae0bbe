#pragma once

#include <libpq-fe.h>

#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/blob.h"
#include "store/sql_store.h"
#include "store/sql_text.h"

// A thin layer over libpq: statements that are prepared once, any number of them in one round trip,
// errors as Status. libpq rather than libpqxx, which in Debian 12 knows neither pipelines nor
// arrays in binary form.
namespace corpgrid::postgres {

// A value, or an array of values, in PostgreSQL's binary format.
class Parameter {
 public:
  static Parameter Number(int64_t value);
  // An array of the type that `value` has, without elements yet.
  template <typename Value>
  static Parameter ArrayOf(const Value& value) {
    return Parameter(TypeOf(value));
  }

  void Add(std::integral auto value) { AddNumber(static_cast<int64_t>(value)); }
  // What is no text to PostgreSQL (NULs, bad UTF-8: a device can say anything) becomes U+FFFD.
  void Add(std::string_view value) {
    AddBytes(store::IsSqlText(value) ? value : store::AsSqlText(value));
  }
  void Add(Blob value) { AddBytes(value.bytes); }

  // "bigint[]", as SQL has it.
  std::string_view sql_type() const;
  // PostgreSQL's number for the type.
  uint32_t oid() const;
  // The bytes to send.
  std::string Encoded() const;

 private:
  enum class Type { kNumber, kText, kBytes };
  explicit Parameter(Type type) : type_(type) {}
  static Type TypeOf(std::integral auto) { return Type::kNumber; }
  static Type TypeOf(std::string_view) { return Type::kText; }
  static Type TypeOf(Blob) { return Type::kBytes; }
  void AddNumber(int64_t value);
  void AddBytes(std::string_view value);

  Type type_;
  bool array_ = true;
  uint32_t count_ = 0;
  std::string elements_;
};

struct Statement {
  std::string sql;
  std::vector<Parameter> parameters;
};

// A connection. One thread at a time. Errors of all methods: Unavailable when the server cannot be
// reached, ends the session or does not answer in time, ResourceExhausted when it
// has no disk or memory left, DataLoss when its files are damaged, PermissionDenied, else Internal
// for a statement that is wrong or breaks a constraint. Every message names the database, never the
// password.
class Connection {
 public:
  // A server that commits in less is well; one that is stopped must not hold the scheduler forever.
  static constexpr int kAnswerTimeoutMs = 30'000;

  // `url` is postgres://USER@HOST:PORT/DATABASE, with what else libpq takes in it. Errors:
  // InvalidArgument for a URL that cannot be read, FailedPrecondition for a database whose text is
  // not UTF-8.
  static absl::StatusOr<Connection> Open(const std::string& url,
                                         int answer_timeout_ms = kAnswerTimeoutMs);

  // What messages call the database.
  const std::string& name() const { return name_; }
  // Whether the session has ended: every call fails from then on.
  bool lost() const;
  // The same, after a look at what the server may have said while nobody asked.
  bool LostMeanwhile();

  // Runs any number of statements without parameters in one transaction.
  absl::Status RunScript(const std::string& sql);

  // Runs the statements, which return nothing, in one transaction and one round trip: all of them
  // landed and are durable on OK; on an error none, unless the connection was lost. (The first Run
  // of a statement takes a round trip more.)
  absl::Status Run(std::span<const Statement> statements);

  // Runs one statement whose parameters are numbers.
  absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                   const store::OnRow& on_row);

  // The constraint that the last failed statement broke, if any.
  const std::string& broken_constraint() const { return broken_constraint_; }

 private:
  struct Closer {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  struct Clearer {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Result = std::unique_ptr<PGresult, Clearer>;

  Connection(PGconn* connection, int answer_timeout_ms)
      : connection_(connection), answer_timeout_ms_(answer_timeout_ms) {}
  absl::Status SetUp();
  absl::Status PrepareOnce(const Statement& statement);
  absl::Status Send(const Statement& statement);
  absl::Status Finish(const store::OnRow& on_row);
  absl::Status FinishPipeline();
  absl::StatusOr<Result> NextResult();
  absl::Status ErrorOf(const PGresult* result);
  absl::Status Lost(std::string_view why);

  std::unique_ptr<PGconn, Closer> connection_;
  int answer_timeout_ms_;
  std::string name_;
  std::string broken_constraint_;
  std::map<std::string, std::string, std::less<>> names_;  // of prepared statements, by their SQL
};

// Connections for reading, each used by one thread at a time and kept for the next. Any thread.
class ReadPool {
 public:
  explicit ReadPool(std::string url) : url_(std::move(url)) {}

  // As Connection::Ask; goes on with a new connection when the kept one was lost meanwhile.
  absl::Status Ask(std::string_view sql, std::span<const int64_t> numbers,
                   const store::OnRow& on_row);

 private:
  static constexpr size_t kMaxIdle = 8;

  const std::string url_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

}  // namespace corpgrid::postgres
