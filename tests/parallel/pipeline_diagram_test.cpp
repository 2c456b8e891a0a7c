#include "parallel/pipeline_diagram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

namespace phalanx::parallel {
namespace {

using Kind = PipelineScheduleKind;

TEST(PipelineDiagram, DrawsOneLineARank) {
  EXPECT_EQ(draw_pipeline_plan(make_pipeline_plan(Kind::k1F1B, 2, 1, 3)),
            "1f1b, 2 ranks, 3 micro-batches\n"
            "        0                   5                   10\n"
            "rank 0  F0  F1  ..  ..  B0----  F2  B1----  ..  B2----\n"
            "rank 1  ..  F0  B0----  F1  B1----  F2  B2----  ..  ..\n"
            "F forward, B-- backward\n"
            "idle 25.0 % of 12 cells; live activations by rank, in micro-batches: 2, 1\n");
}

TEST(PipelineDiagram, MarksTheSecondChunkBySmallLetters) {
  EXPECT_EQ(draw_pipeline_plan(make_pipeline_plan(Kind::kZeroBubbleV, 2, 2, 3)),
            "zb_v, 2 ranks x 2 chunks, 3 micro-batches\n"
            "        0                   5                   10                  15\n"
            "rank 0  F0  F1  F2  f0  b0  w0  f1  b1  w1  B0  W0  f2  b2  w2  B1  W1  B2  W2  ..\n"
            "rank 1  ..  F0  f0  F1  f1  b0  w0  F2  B0  W0  f2  b1  w1  B1  b2  B2  W1  w2  W2\n"
            "F forward, B gradient of the input, W gradient of the weights; small letters: chunk 1\n"
            "idle 5.3 % of 19 cells; live activations by rank, in micro-batches: 2, 2\n");
}

TEST(PipelineDiagram, MarksMoreThanTwoChunksByALetterEach) {
  EXPECT_NE(draw_pipeline_plan(make_pipeline_plan(Kind::kInterleaved1F1B, 1, 3, 1))
                .find("rank 0  F0a  F0b  F0c  B0c-----  B0b-----  B0a-----\n"),
            std::string::npos);
}

TEST(PipelineDiagram, IsPlainAsciiAndKeepsToItsColumns) {
  for (const Kind kind :
       {Kind::kGPipe, Kind::k1F1B, Kind::kInterleaved1F1B, Kind::kZeroBubbleH1, Kind::kZeroBubbleV}) {
    const int64_t v = kind == Kind::kInterleaved1F1B || kind == Kind::kZeroBubbleV ? 2 : 1;
    for (const int64_t columns : {80, 100, 140}) {
      std::istringstream lines(draw_pipeline_plan(make_pipeline_plan(kind, 4, v, 8), columns));
      for (std::string line; std::getline(lines, line);) {
        EXPECT_TRUE(!line.starts_with("rank") || line.size() <= static_cast<size_t>(columns)) << line;
        EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }))
            << line;
      }
    }
  }
}

TEST(PipelineDiagram, GoesOnBelowWhereThePictureIsTooWide) {
  const std::string text = draw_pipeline_plan(make_pipeline_plan(Kind::kZeroBubbleH1, 2, 1, 4), 30);
  EXPECT_NE(text.find("        0              5\n"
                      "rank 0  F0 F1 .. B0 W0 F2 B1\n"
                      "rank 1  .. F0 B0 F1 B1 W0 F2\n"
                      "\n"
                      "                 10\n"
                      "rank 0  W1 F3 B2 W2 B3 W3\n"
                      "rank 1  B2 W1 F3 B3 W2 W3\n"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace phalanx::parallel
