#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/blob.h"

struct sqlite3;
struct sqlite3_stmt;

// A thin layer over SQLite: statements that reset themselves, errors as Status.
namespace corpgrid::sqlite {

using corpgrid::Blob;
struct Null {};

// One run of a prepared statement; ends with the object. Values of the current row are valid until
// the next Next().
class Query {
 public:
  Query(Query&& other) noexcept;
  Query(const Query&) = delete;
  ~Query();

  // True when there is another row.
  absl::StatusOr<bool> Next();

  // Runs the statement again, to its end, with these parameters.
  template <typename... Values>
  absl::Status Rerun(const Values&... values) {
    Reset();
    int index = 0;
    (Bind(++index, values), ...);
    return Next().status();
  }

  bool IsNull(int column) const;
  int64_t Int(int column) const;
  std::string_view Bytes(int column) const;  // of a blob or of text

 private:
  friend class Database;
  Query(sqlite3_stmt* statement, const std::string* path) : statement_(statement), path_(path) {}
  void Bind(int index, Blob value);
  void Bind(int index, std::string_view value);
  void Bind(int index, Null value);
  template <std::integral T>
  void Bind(int index, T value) {
    BindInt(index, static_cast<int64_t>(value));
  }
  void BindInt(int index, int64_t value);
  void Note(int code);
  void Reset();

  sqlite3_stmt* statement_;
  const std::string* path_;
  int bind_error_ = 0;
};

// A connection. One thread at a time. Errors of all methods: ResourceExhausted when the disk is
// full, DataLoss when the file is damaged, PermissionDenied, else Unavailable; Internal for a
// statement that is wrong. Every message names the file.
class Database {
 public:
  // Opens `path` in WAL mode with synchronous=FULL, creating it when needed.
  static absl::StatusOr<Database> Open(const std::string& path);
  // Opens what exists, for reading.
  static absl::StatusOr<Database> OpenForReading(const std::string& path);

  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  // Starts `sql`, whose parameters are `values` in order; text and blobs must live as long as the
  // query. The statement is prepared once a connection and cannot run twice at the same time.
  template <typename... Values>
  absl::StatusOr<Query> Ask(std::string_view sql, const Values&... values) {
    absl::StatusOr<Query> query = Start(sql);
    if (!query.ok()) return query;
    int index = 0;
    (query->Bind(++index, values), ...);
    return query;
  }

  // The same for parameters that are all numbers.
  absl::StatusOr<Query> AskNumbers(std::string_view sql, std::span<const int64_t> values);

  // Runs `sql` to its end.
  template <typename... Values>
  absl::Status Run(std::string_view sql, const Values&... values) {
    absl::StatusOr<Query> query = Ask(sql, values...);
    if (!query.ok()) return query.status();
    return query->Next().status();
  }

  // `sql`, to be run by Rerun as often as one likes: finding the prepared statement costs a tenth
  // of writing a row.
  absl::StatusOr<Query> Prepare(std::string_view sql) { return Start(sql); }

  // Runs any number of statements without parameters, separated by semicolons.
  absl::Status RunScript(const std::string& sql);

  // Runs `work` in a transaction: committed and durable when it returns OK, rolled back otherwise.
  absl::Status Transaction(const std::function<absl::Status()>& work);

  // Rows that the last Run() changed.
  int64_t changed_rows() const;

 private:
  struct Closer {
    void operator()(sqlite3* db) const;
  };
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Statements = std::unordered_map<std::string, std::unique_ptr<sqlite3_stmt, Finalizer>,
                                        TextHash, std::equal_to<>>;

  explicit Database(std::string path);
  static absl::StatusOr<Database> OpenWith(const std::string& path, int flags);
  absl::StatusOr<Query> Start(std::string_view sql);

  std::unique_ptr<const std::string> path_;  // queries point at it
  std::unique_ptr<sqlite3, Closer> db_;
  Statements statements_;
};

// Connections for reading one file, each used by one thread at a time and kept for the next.
// Any thread.
class ReadPool {
 public:
  explicit ReadPool(std::string path) : path_(std::move(path)) {}

  class Lease {
   public:
    Lease(ReadPool* pool, Database db) : pool_(pool), db_(std::move(db)) {}
    Lease(Lease&& other) noexcept;
    ~Lease();
    Database& operator*() { return db_; }
    Database* operator->() { return &db_; }

   private:
    ReadPool* pool_;
    Database db_;
  };

  absl::StatusOr<Lease> Take();

 private:
  static constexpr size_t kMaxIdle = 8;

  const std::string path_;
  std::mutex mutex_;
  std::vector<Database> idle_;
};

}  // namespace corpgrid::sqlite
