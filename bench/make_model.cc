// Makes a model of random weights for measurements and tests: bench_make_model FILE TYPE LAYERS
// EMBEDDING HEADS KV_HEADS FEED_FORWARD VOCABULARY [CHAT_TEMPLATE [CONTROL_TOKEN…]]

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "inference/llama/test_model.h"

int main(int argc, char** argv) {
  corpgrid::inference::TestModel shape;
  uint32_t* const numbers[] = {&shape.layers,   &shape.embedding,    &shape.heads,
                               &shape.kv_heads, &shape.feed_forward, &shape.vocabulary};
  if (argc < 9) return 2;
  shape.type = argv[2];
  shape.context = 8192;
  if (argc > 9) shape.chat_template = argv[9];
  shape.control.assign(argv + std::min(argc, 10), argv + argc);
  for (int i = 0; i < 6; ++i) {
    const char* end = argv[i + 3] + std::strlen(argv[i + 3]);
    const auto [stop, error] = std::from_chars(argv[i + 3], end, *numbers[i]);
    if (stop != end || error != std::errc()) return 2;
  }
  const absl::Status made = corpgrid::inference::MakeTestModel(shape, argv[1]);
  if (made.ok()) return 0;
  std::fprintf(stderr, "%s\n", made.ToString().c_str());
  return 1;
}
