#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "job/spec.h"

// When two outputs are the same but for rounding: what a job's numeric validator means.
namespace corpgrid::job {

// Whether |a - b| <= max(relative * max(|a|, |b|), absolute): PEP 485, which is symmetric. An
// infinity is close to itself alone, NaN to nothing.
bool IsClose(double a, double b, const Tolerance& tolerance);

// A whole number, exactly: a double has only 53 bits for it.
struct Integer {
  bool negative = false;
  uint64_t magnitude = 0;
};
// The same rule. Two different numbers are never close with tolerances of 0.
bool IsClose(Integer a, Integer b, const Tolerance& tolerance);

// Empty when each number of `a` is close to its counterpart in `b` and all else is equal; else
// where they differ first and how, in a clause ("line 3: 1.5 and 1.6"). What is not of the
// tolerance's format differs from everything, itself included, and so does what holds a NaN. Which
// of the two comes first does not change whether they differ. Takes time in proportion to the
// bytes, whatever they hold; memory too for JSON, about 30 times as much. Any thread.
std::string Difference(const Tolerance& tolerance, std::string_view a, std::string_view b);

// Difference() of the formats. Words are compared as bytes, blanks between them say nothing.
std::string TextDifference(const Tolerance& tolerance, std::string_view a, std::string_view b);
// RFC 4180, separated by commas; quotes and blanks around a field say nothing.
std::string CsvDifference(const Tolerance& tolerance, std::string_view a, std::string_view b);
// RFC 8259; the order of an object's keys says nothing, a key that comes twice is an error.
std::string JsonDifference(const Tolerance& tolerance, std::string_view a, std::string_view b);

// Whether two words are the same, as numbers where both are numbers, else as bytes.
bool IsSameWord(std::string_view a, std::string_view b, const Tolerance& tolerance);

}  // namespace corpgrid::job
