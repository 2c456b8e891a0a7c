#include "data/data_options.h"

#include "core/config.h"
#include "data/record.h"

namespace phalanx::data {
namespace {

using core::SectionBuilder;

std::vector<std::string> format_names() {
  std::vector<std::string> names = record_format_names();
  names.insert(names.begin(), "auto");
  return names;
}

void declare_source(SectionBuilder<SourceOptions>& s) {
  s.field("path", &SourceOptions::path,
          {.help = "File of records: .jsonl, .json, .csv, .tsv or .txt, also with .gz or .zst behind it; "
                   ".parquet or .arrow.",
           .required_in_item = true,
           .path = core::PathOf::kRecords});
  s.field("format", &SourceOptions::format,
          {.help = "Kind of record; auto decides by the keys of the first record and says so.",
           .one_of = format_names()});
  s.field(
      "weight", &SourceOptions::weight,
      {.help = "How often each sequence of this source is drawn per epoch.", .min = 0, .above_min = true});
  s.field(
      "documents", &SourceOptions::documents,
      {.help =
           "What a document of a .txt file is: the whole file, what stands between blank lines, or a line.",
       .one_of = {"file", "paragraph", "line"}});
}

const bool registered = core::register_section<DataOptions>(
    "data", "What is read, how it is cut into sequences and which tokens count.",
    [](SectionBuilder<DataOptions>& s) {
      s.list("train", &DataOptions::train, {.help = "Training sources."}, std::function(declare_source));
      s.list("eval", &DataOptions::eval, {.help = "Held-out sources."}, std::function(declare_source));
      s.field("sequence_length", &DataOptions::sequence_length,
              {.help = "Longest sequence.", .unit = "tokens", .min = 2, .max = 1 << 24});
      s.field("packing", &DataOptions::packing,
              {.help = "Fill sequences with several samples; attention and positions keep them apart."});
      s.field("shuffle", &DataOptions::shuffle,
              {.help = "Draw in a seeded random order; false: file order."});
      s.field(
          "interleave", &DataOptions::interleave,
          {.help = "Spread each source evenly over the epoch, so that every batch holds the sources in their "
                   "shares; false: by chance, or one source after the other without shuffle."});
      s.field(
          "loss_on", &DataOptions::loss_on,
          {.help = "Which tokens are targets.", .one_of = {"assistant", "completion", "last_turn", "all"}});
      s.field("on_too_long", &DataOptions::on_too_long,
              {.help = "A sample longer than sequence_length is dropped (and counted), cut at its end, or an "
                       "error. Plain text is "
                       "always split, never dropped.",
               .one_of = {"drop", "truncate", "error"}});
      s.field("special_tokens_in_content", &DataOptions::special_tokens_in_content,
              {.help = "Is text such as <|im_end|> inside content the control token (parse) or plain "
                       "characters (literal)?",
               .one_of = {"parse", "literal"}});
      s.field("max_bad_records", &DataOptions::max_bad_records,
              {.help = "So many bad records go to quarantine.jsonl; one more ends the run with 65.",
               .unit = "records",
               .min = 0});
      s.field("cache_dir", &DataOptions::cache_dir,
              {.help = "Where tokenised data is kept; default OUTPUT_DIR/cache."});
    });

}  // namespace
}  // namespace phalanx::data
