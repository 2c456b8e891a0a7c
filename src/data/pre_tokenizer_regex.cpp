#include "data/pre_tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMaxSteps = 5'000'000;
constexpr size_t kJitStackBytes = 4 << 20;

std::string message_of(int code) {
  unsigned char text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// Buffers of one thread; PCRE2 wants them beside the compiled pattern, which all threads share.
struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr);

  MatchState() {
    pcre2_set_match_limit(context, kMaxSteps);
    pcre2_set_heap_limit(context, 64 << 10);  // KiB, for the interpreter
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchState() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  std::string pattern;
  std::string source;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern, std::string source) : compiled_(std::make_unique<Compiled>()) {
  compiled_->pattern = pattern;
  compiled_->source = std::move(source);
  if (pattern.size() > kMaxPatternBytes) {
    fail_tokenizer(TokenizerErrorKind::kRegex, "{}: a pattern has {} bytes, {} at most are taken",
                   compiled_->source, pattern.size(), kMaxPatternBytes);
  }
  int error = 0;
  size_t place = 0;
  // "^" and "$" are per line in Oniguruma's default syntax.
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &place, nullptr);
  if (compiled_->code == nullptr) {
    fail_tokenizer(TokenizerErrorKind::kRegex, "{}: pattern {}: {} (at byte {} of its translation to PCRE2)",
                   compiled_->source, core::printable(pattern, 80), message_of(error), place);
  }
  pcre2_jit_compile(compiled_->code,
                    PCRE2_JIT_COMPLETE);  // where it fails, the interpreter does the same, slower
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::search(std::string_view subject, size_t start, size_t& begin, size_t& end) const {
  thread_local MatchState state;
  const int result = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(subject.data()),
                                 subject.size(), start, PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    fail_tokenizer(TokenizerErrorKind::kRegex, "{}: pattern {} is too costly at byte {} of a text: {}",
                   compiled_->source, core::printable(compiled_->pattern, 80), start, message_of(result));
  }
  const size_t* ends = pcre2_get_ovector_pointer(state.data);
  begin = ends[0];
  end = ends[1];
  return true;
}

size_t Regex::after_character(std::string_view subject, size_t at) {
  if (at >= subject.size()) return at + 1;
  const char* p = subject.data() + at;
  next_code_point(p);
  return static_cast<size_t>(p - subject.data());
}

}  // namespace phalanx::data
