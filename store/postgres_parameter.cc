#include <array>

#include "store/postgres.h"

// The binary formats are those of PostgreSQL's src/backend/utils/adt: int8send, byteasend and
// array_send.
namespace corpgrid::postgres {
namespace {

template <typename Number>
void AppendBigEndian(std::string* to, Number value) {
  for (int shift = 8 * (sizeof(Number) - 1); shift >= 0; shift -= 8) {
    to->push_back(static_cast<char>(value >> shift));
  }
}

// From pg_type.dat, which never changes.
struct TypeNumbers {
  uint32_t element;
  uint32_t array;
  std::string_view array_name;
};
constexpr TypeNumbers kNumber = {20, 1016, "bigint[]"};
constexpr TypeNumbers kText = {25, 1009, "text[]"};
constexpr TypeNumbers kBytes = {17, 1001, "bytea[]"};

const TypeNumbers& NumbersOf(int type) {
  constexpr std::array kAll = {&kNumber, &kText, &kBytes};
  return *kAll.at(static_cast<size_t>(type));
}

}  // namespace

Parameter Parameter::Number(int64_t value) {
  Parameter parameter(Type::kNumber);
  parameter.array_ = false;
  AppendBigEndian(&parameter.elements_, static_cast<uint64_t>(value));
  return parameter;
}

void Parameter::AddNumber(int64_t value) {
  AppendBigEndian(&elements_, uint32_t{8});
  AppendBigEndian(&elements_, static_cast<uint64_t>(value));
  ++count_;
}

void Parameter::AddBytes(std::string_view value) {
  AppendBigEndian(&elements_, static_cast<uint32_t>(value.size()));
  elements_ += value;
  ++count_;
}

std::string_view Parameter::sql_type() const {
  return NumbersOf(static_cast<int>(type_)).array_name;
}

uint32_t Parameter::oid() const {
  const TypeNumbers& numbers = NumbersOf(static_cast<int>(type_));
  return array_ ? numbers.array : numbers.element;
}

std::string Parameter::Encoded() const {
  if (!array_) return elements_;
  constexpr uint32_t kDimensions = 1;
  constexpr uint32_t kNoNulls = 0;
  constexpr uint32_t kFirstIndex = 1;
  std::string bytes;
  bytes.reserve(elements_.size() + 20);
  AppendBigEndian(&bytes, kDimensions);
  AppendBigEndian(&bytes, kNoNulls);
  AppendBigEndian(&bytes, NumbersOf(static_cast<int>(type_)).element);
  AppendBigEndian(&bytes, count_);
  AppendBigEndian(&bytes, kFirstIndex);
  return bytes += elements_;
}

}  // namespace corpgrid::postgres
