#include "triax/base/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "triax/base/error.h"

namespace triax {
namespace {

std::string complaint_about(const std::string& text) {
  try {
    Json::parse(text, "x.json");
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Json, WritesWhatItRead) {
  const std::string text = R"({"a":[1,-2,2.5,1e+300,true,false,null,"x\n\"é\u0001"],"b":{},"c":[],"d":{"e":{"f":9007199254740993}}})";
  const Json json = Json::parse(text, "x.json");
  EXPECT_EQ(json.dump(), text);
  EXPECT_EQ(Json::parse(json.dump(2), "x.json"), json);
  EXPECT_EQ(json["d"]["e"]["f"].integer(), 9007199254740993);
  EXPECT_EQ(json["a"][7].text(), "x\n\"é\x01");
  EXPECT_EQ(json["a"][1].number(), -2);
}

TEST(Json, Indents) {
  const Json json = {{"name", "x"}, {"list", Json::array({1, 2.0})}, {"none", Json::object()}};
  EXPECT_EQ(json.dump(2), "{\n  \"name\": \"x\",\n  \"list\": [\n    1,\n    2.0\n  ],\n  \"none\": {}\n}");
}

TEST(Json, IsBuilt) {
  Json json;
  json["size"] = size_t{3};
  json["words"] = std::vector<std::string>{"a", "b"};
  json["deep"]["one"] = 1;
  json["size"] = 4;
  json["list"].push_back(true);
  json.update({{"words", nullptr}, {"nan", std::nan("")}});
  EXPECT_EQ(json.dump(), R"({"size":4,"words":null,"deep":{"one":1},"list":[true],"nan":null})");
}

TEST(Json, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(Json("a\xff" "b").dump(), "\"a\xef\xbf\xbd" "b\"");
}

TEST(Json, TheLastOfTwoNamesCounts) { EXPECT_EQ(Json::parse(R"({"a":1,"a":2})", "x")["a"], Json(2)); }

TEST(Json, NumbersBeyondInt64AreNotWhole) {
  const Json json = Json::parse("[18446744073709551615, -9223372036854775808, 1e5]", "x");
  EXPECT_FALSE(json[0].is_integer());
  EXPECT_NEAR(json[0].number(), 1.8446744073709552e19, 1e4);
  EXPECT_EQ(json[1].integer(), std::numeric_limits<int64_t>::min());
  EXPECT_FALSE(json[2].is_integer());
}

TEST(Json, SaysWhereItCeasesToBeJson) {
  EXPECT_EQ(complaint_about("{\"a\": 1,\n \"b\": }"), "x.json:2: not JSON (byte 16 of the file)");
  EXPECT_NE(complaint_about("{\"a\": 1"), "");
  EXPECT_NE(complaint_about(""), "");
  EXPECT_NE(complaint_about("\"\xff\""), "");
  EXPECT_TRUE(Json::parse_or_null("[1,").is_null());
}

TEST(Json, SaysWhatWasWanted) {
  const Json json = {{"a", "text"}};
  EXPECT_THROW(json.at("b"), Error);
  EXPECT_THROW(json["a"].integer(), Error);
  EXPECT_THROW(json["a"]["b"], Error);
  EXPECT_THROW(json[size_t{1}], Error);
  try {
    (void)json["a"].number();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a number is wanted, and this is a text: \"text\"");
  }
}

TEST(Json, DepthIsBounded) {
  EXPECT_NE(complaint_about(std::string(100000, '[')).find("within each other"), std::string::npos);
  EXPECT_EQ(Json::parse(std::string(400, '[') + std::string(400, ']'), "x").dump().size(), 800u);
}

}  // namespace
}  // namespace triax
