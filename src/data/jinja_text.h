#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::data::jinja {

/// Python's str operations on valid UTF-8; positions and lengths in code points.

int64_t count_code_points(std::string_view text);
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view code_points);
void append_utf8(std::string& out, char32_t code_point);

bool is_space(char32_t c);              ///< as str.isspace
bool is_letter_code_point(char32_t c);  ///< as str.isalpha
bool is_digit_code_point(char32_t c);   ///< decimal digits of any script

/// str.strip/lstrip/rstrip: whitespace, or any of the characters of `characters`.
std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left,
                       bool right);
/// str.split: on runs of whitespace when `separator` is empty optional; at most `limit` cuts, -1 = all.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t limit);
std::vector<std::string_view> rsplit(std::string_view text, std::optional<std::string_view> separator,
                                     int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
/// str.replace with at most `limit` replacements, -1 = all.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(
    std::string_view text);  ///< Jinja's filter: words are cut at blanks, '-', and opening brackets

std::string quote(std::string_view text);        ///< Python's repr of a str
std::string escape_html(std::string_view text);  ///< markupsafe.escape

}  // namespace phalanx::data::jinja
