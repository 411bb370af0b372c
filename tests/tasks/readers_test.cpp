// What the readers make of files, and of damaged ones.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"
#include "triax/tasks/cases.h"
#include "triax/tasks/chemprot.h"
#include "triax/tasks/conll.h"
#include "triax/tasks/relation.h"
#include "triax/tasks/squad.h"

namespace triax::tasks {
namespace {

constexpr ReadOptions kSkip = {.skip_bad = true};

template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Conll, ReadsSentencesDocumentsAndScheme) {
  const ConllFile file = parse_conll("-DOCSTART-\t-X-\tO\n\nIn\tIN\tO\nNew\tNN\tB-LOC\r\nYork\tNN\tI-LOC\n\n\n-DOCSTART-\t-X-\tO\n\nA\tX\tO\n", "a.tsv");
  ASSERT_EQ(file.sentences.size(), 2u);
  EXPECT_EQ(file.sentences[0].words, (std::vector<std::string>{"In", "New", "York"}));
  EXPECT_EQ(file.sentences[0].tags, (std::vector<std::string>{"O", "B-LOC", "I-LOC"}));
  EXPECT_EQ(file.sentences[0].line, 3u);
  EXPECT_EQ(file.sentences[0].document, 1);
  EXPECT_EQ(file.sentences[1].document, 2);
  EXPECT_EQ(file.types, (std::set<std::string>{"LOC"}));
  EXPECT_EQ(file.scheme, TagScheme::iob2);
  EXPECT_EQ(parse_conll("a I-X\nb B-X\n", "a").scheme, TagScheme::iob1);
  EXPECT_EQ(parse_conll("a B-X\nb E-X\n", "a").scheme, TagScheme::iobes);
  EXPECT_EQ(parse_conll("a U-X\n", "a").scheme, TagScheme::iobes);
}

TEST(Conll, NamesWhatIsWrong) {
  EXPECT_EQ(error_of([] { parse_conll("a O\nb\n", "x.txt"); }),
            "x.txt:2: \"b\" has no tag; correct it, or say --skip-bad (of triax finetune: data.skip_bad = true) to leave such records out");
  EXPECT_NE(error_of([] { parse_conll("a O\nb Q-X\n", "x"); }).find("x:2: \"Q-X\" is not a tag"), std::string::npos);
  EXPECT_NE(error_of([] { parse_conll("a X O\nb O\n", "x"); }).find("x:2: 2 columns, where the file began with 3"), std::string::npos);
  EXPECT_NE(error_of([] { parse_conll("a\xff O\n", "x"); }).find("x:1: not UTF-8"), std::string::npos);
  EXPECT_NE(error_of([] { parse_conll("\n\n", "x"); }).find("there is no sentence"), std::string::npos);
  // Skipping leaves out whole sentences, each counted once.
  const ConllFile file = parse_conll("a O\n\nb\nc\n\nd O\n", "x", kSkip);
  EXPECT_EQ(file.sentences.size(), 2u);
  EXPECT_EQ(file.bad.count, 1u);
  EXPECT_EQ(file.bad.examples.at(0), "x:3: \"b\" has no tag");
}

TEST(Entities, ConvertBetweenSchemes) {
  const std::vector<std::string> iob2 = {"B-A", "I-A", "B-A", "O", "B-B"};
  EXPECT_EQ(convert_tags(iob2, TagScheme::iobes), (std::vector<std::string>{"B-A", "E-A", "S-A", "O", "S-B"}));
  EXPECT_EQ(convert_tags(iob2, TagScheme::iob1), (std::vector<std::string>{"I-A", "I-A", "B-A", "O", "I-B"}));
  for (const auto scheme : {TagScheme::iob1, TagScheme::iob2, TagScheme::iobes})
    EXPECT_EQ(convert_tags(convert_tags(iob2, scheme), TagScheme::iob2), iob2);
  const std::vector<std::string> broken = {"I-A", "O", "I-A", "I-B", "E-B", "I-B"};
  EXPECT_EQ(convert_tags(broken, TagScheme::iob2), (std::vector<std::string>{"B-A", "O", "B-A", "B-B", "I-B", "B-B"}));
  const std::vector<Entity> overlapping = {{"A", 0, 2}, {"B", 1, 3}};
  EXPECT_THROW(tags_of(overlapping, 3, TagScheme::iob2), Error);
}

const char* const kSquad = R"({"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "Ünïcode: the cat, the cat.",
  "qas": [{"id": "a", "question": "Who?", "answers": [{"text": "cat", "answer_start": 13}, {"text": "cat", "answer_start": 20},
           {"text": "dog", "answer_start": 1}, {"text": "Ünïcode", "answer_start": 0}, {"text": "cat", "answer_start": -7}, {"text": "cat", "answer_start": 999}]},
          {"id": "b", "question": "None?", "answers": [], "is_impossible": true}]}]}]})";

TEST(Squad, PlacesAnswersByBytesAndRealignsThem) {
  const QuestionFile file = parse_squad(kSquad, "s.json");
  ASSERT_EQ(file.questions.size(), 2u);
  const Question& q = file.questions[0];
  EXPECT_EQ(file.version, "1.1");
  EXPECT_EQ(q.title, "T");
  ASSERT_EQ(q.answers.size(), 6u);
  EXPECT_EQ(q.answers[0].place, (ByteRange{15, 18}));  // two letters before it take two bytes
  EXPECT_EQ(q.answers[1].place, (ByteRange{24, 27}));  // said one too early
  EXPECT_EQ(q.answers[2].place, std::nullopt);
  EXPECT_EQ(q.answers[3].place, (ByteRange{0, 9}));
  EXPECT_EQ(q.answers[5].place, (ByteRange{24, 27}));
  EXPECT_EQ(file.placed, 2);
  EXPECT_EQ(file.moved, 3);
  EXPECT_EQ(file.lost, 1);
  EXPECT_EQ(file.lost_examples.at(0), "s.json: article 1, paragraph 1, question 1 (id a): the answer \"dog\" is not in its context");
  EXPECT_TRUE(file.questions[1].impossible);
}

TEST(Squad, NamesWhatIsWrong) {
  const auto with_question = [](const std::string& question) {
    return R"({"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": [)" + question + "]}]}]}";
  };
  EXPECT_EQ(error_of([] { parse_squad("{\n\"data\": [}\n", "s"); }), "s:2: not JSON (byte 12 of the file)");
  EXPECT_NE(error_of([] { parse_squad("[]", "s"); }).find("s: there is no \"data\" list"), std::string::npos);
  EXPECT_NE(error_of([&] { parse_squad(with_question(R"({"id": "a"})"), "s"); }).find("s: article 1, paragraph 1, question 1 (id a): there is no text \"question\""), std::string::npos);
  EXPECT_NE(error_of([&] { parse_squad(with_question(R"({"id": "a", "question": "q", "answers": [{"text": 3}]})"), "s"); }).find("an answer has no \"text\""), std::string::npos);
  EXPECT_NE(error_of([&] { parse_squad(with_question(R"({"id": "a", "question": "q"}, {"id": "a", "question": "q"})"), "s"); }).find("question 2 (id a): its id is that of article 1, paragraph 1, question 1 too; correct it, or say"), std::string::npos);
  const QuestionFile file = parse_squad(with_question(R"({"id": "a", "question": "q"}, {"id": "a", "question": "q"}, 7)"), "s", kSkip);
  EXPECT_EQ(file.questions.size(), 1u);
  EXPECT_EQ(file.bad.count, 2u);
}

TEST(Bioasq, SnippetsBecomeQuestions) {
  const FactoidFile file = parse_bioasq(R"({"questions": [{"id": "q1", "type": "factoid", "body": "Which gene?",
    "snippets": [{"text": "The GENE tp53 is it."}, {"text": "Nothing."}], "exact_answer": ["TP53", "p53"]}]})", "b.json");
  const QuestionFile questions = as_questions(file);
  ASSERT_EQ(questions.questions.size(), 2u);
  EXPECT_EQ(questions.questions[0].id, "q1_001");
  ASSERT_EQ(questions.questions[0].answers.size(), 2u);
  EXPECT_EQ(questions.questions[0].answers[0].text, "tp53");
  EXPECT_EQ(questions.questions[0].answers[1].text, "p53");
  EXPECT_TRUE(questions.questions[1].impossible);
  EXPECT_NE(error_of([] { parse_bioasq(R"({"questions": [{"id": "q", "type": "factoid"}]})", "b"); }).find("b: question 1: there is no \"body\""), std::string::npos);
}

TEST(Cases, ReadsJsonLinesAndColumns) {
  const CaseFile lines = parse_cases("{\"text\": \"a\", \"label\": \"x\"}\n\n{\"text\": \"b\", \"label\": 2}\n", "c.jsonl");
  ASSERT_EQ(lines.cases.size(), 2u);
  EXPECT_EQ(lines.cases[1].label, "2");
  EXPECT_EQ(lines.cases[1].line, 3u);
  CaseOptions glue;
  glue.fields = {.text = "sentence1", .pair = "sentence2", .label = "gold_label", .id = "id", .choices = ""};
  const CaseFile named = parse_cases("id\tsentence1\tsentence2\tgold_label\n7\tA \"b\tc\tneutral\n", "m.tsv", glue);
  ASSERT_EQ(named.cases.size(), 1u);
  EXPECT_EQ(named.cases[0].text, "A \"b");
  EXPECT_EQ(named.cases[0].pair, "c");
  EXPECT_EQ(named.cases[0].id, "7");
  CaseOptions numbered;
  numbered.fields = {.text = "2", .pair = "", .label = "1", .id = "", .choices = ""};
  EXPECT_EQ(parse_cases("y\tone\nn\ttwo\n", "n.tsv", numbered).cases.at(0).label, "y");
  EXPECT_NE(error_of([&] { parse_cases("a\tb\n", "m.tsv", glue); }).find("m.tsv: there is no column \"sentence1\"; the first line names a, b"), std::string::npos);
}

TEST(Cases, NamesWhatIsWrong) {
  EXPECT_NE(error_of([] { parse_cases("{\"text\": \"a\"}\n", "c"); }).find("c:1: there is no label"), std::string::npos);
  EXPECT_NE(error_of([] { parse_cases("{\"text\": \"a\", \"label\": \"x\"}\n{\"txt\"\n", "c"); }).find("c:2: not JSON"), std::string::npos);
  CaseOptions number;
  number.need_number = true;
  EXPECT_NE(error_of([&] { parse_cases("{\"text\": \"a\", \"label\": \"nan\"}", "c", number); }).find("\"nan\" is not a number"), std::string::npos);
  CaseFile file = parse_cases("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n", "c");
  const LabelSet labels({"x"});
  EXPECT_NE(error_of([&] { labels.remove_unknown(file, "c", {}); }).find("c:2: the label \"y\" is none of x"), std::string::npos);
  file = parse_cases("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n", "c");
  labels.remove_unknown(file, "c", kSkip);
  EXPECT_EQ(file.cases.size(), 1u);
  EXPECT_EQ(file.bad.count, 1u);
}

TEST(Cases, ReadsRace) {
  const std::string passage = R"({"id": "p", "article": "Text.", "questions": ["Q1?", "Q2?"], "options": [["a","b"],["c","d"]], "answers": ["B", "A"]})";
  for (const std::string& text : {passage, passage + "\n" + R"({"article": 3})"}) {
    const CaseFile file = parse_race(text, "r", kSkip);
    ASSERT_EQ(file.cases.size(), 2u);
    EXPECT_EQ(file.cases[0].label, "1");
    EXPECT_EQ(file.cases[1].id, "p-1");
    EXPECT_EQ(file.cases[1].choices, (std::vector<std::string>{"c", "d"}));
  }
  EXPECT_NE(error_of([] { parse_race(R"({"article": "", "questions": ["q"], "options": [["a","b"]], "answers": ["C"]})", "r"); }).find("the answer \"C\" is none of the 2 options"), std::string::npos);
}

TEST(Relation, FindsTheMarks) {
  std::string reason;
  const std::string text = "The [[ drug ]] blocks << the gene >>.";
  const auto pair = find_marked(text, reason);
  ASSERT_TRUE(pair);
  EXPECT_EQ(text.substr(pair->first.name.begin, pair->first.name.end - pair->first.name.begin), "the gene");
  EXPECT_EQ(text.substr(pair->second.whole.begin, pair->second.whole.end - pair->second.whole.begin), "[[ drug ]]");
  EXPECT_EQ(hide_names(text, *pair, "@GENE$", "@CHEMICAL$"), "The @CHEMICAL$ blocks @GENE$.");
  EXPECT_TRUE(find_marked("@GENE$ and @CHEM-GENE$", reason));
  EXPECT_TRUE(find_marked("[E1]a[/E1] [E2] b [/E2]", reason));
  EXPECT_FALSE(find_marked("<< a >> << b >> [[ c ]]", reason));
  EXPECT_EQ(reason, "2 entities are marked by << >> and 1 by [[ ]]; one of each is expected");
  EXPECT_FALSE(find_marked("<< a [[ b ]] >>", reason));
  EXPECT_EQ(reason, "the two marked entities overlap");
  EXPECT_FALSE(find_marked("nothing @ all", reason));
  EXPECT_EQ(chemprot_group("INDIRECT_DOWNREGULATOR"), "CPR:4");
  EXPECT_EQ(chemprot_group("MODULATOR"), "false");
}

// Two articles: names of two bytes a character before them, one within another, a stop within a name, a relation between
// sentences, one of a group that is not scored, a pair with two relations.
class Chemprot : public testing::Test {
 protected:
  Chemprot() {
    write_file_atomic(path("x_abstracts_gs.tsv"), kAbstracts);
    write_file_atomic(path("x_entities_gs.tsv"), kEntities);
    write_file_atomic(path("x_relations_gs.tsv"), kRelations);
  }
  std::filesystem::path path(const char* name) const { return folder_.path() / name; }
  CaseFile read(const CaseOptions& options = {}) const { return parse_chemprot(kAbstracts, path("x_abstracts_gs.tsv"), options); }

  static constexpr const char* kAbstracts = "11\tTNF-α and aspirin.\tAspirin blocks p53 sp. 2. Caffeine [[1]] acts.\n22\tNone\tEthanol oxidase.\n";
  static constexpr const char* kEntities =
      "11\tT1\tGENE-Y\t0\t5\tTNF-α\n11\tT2\tCHEMICAL\t10\t17\taspirin\n11\tT3\tCHEMICAL\t19\t26\tAspirin\n"
      "11\tT4\tGENE-N\t34\t43\tp53 sp. 2\n11\tT5\tCHEMICAL\t45\t53\tCaffeine\n"
      "22\tT1\tCHEMICAL\t5\t12\tEthanol\n22\tT2\tGENE-Y\t5\t20\tEthanol oxidase\n";
  static constexpr const char* kRelations =
      "11\tCPR:4\tY \tINHIBITOR\tArg1:T3\tArg2:T4\n11\tCPR:3\tY \tACTIVATOR\tArg1:T3\tArg2:T4\n"
      "11\tCPR:2\tN \tDIRECT-REGULATOR\tArg1:T2\tArg2:T1\n11\tCPR:9\tY \tSUBSTRATE\tArg1:T5\tArg2:T4\n"
      "22\tCPR:9\tY \tSUBSTRATE\tArg1:T1\tArg2:T2\n";
  TemporaryDirectory folder_;
};

TEST_F(Chemprot, MakesACaseOfEveryPairInASentence) {
  ASSERT_TRUE(is_chemprot_abstracts(path("x_abstracts_gs.tsv")));
  EXPECT_FALSE(is_chemprot_abstracts(path("x_entities_gs.tsv")));
  const CaseFile file = read();
  ASSERT_EQ(file.cases.size(), 2u);
  EXPECT_EQ(file.cases[0].text, "<< TNF-α >> and [[ aspirin ]].");
  EXPECT_EQ(file.cases[0].label, "false");
  EXPECT_EQ(file.cases[0].id, "11 T2 T1");
  EXPECT_EQ(file.cases[1].text, "[[ Aspirin ]] blocks << p53 sp. 2 >>.");
  EXPECT_EQ(file.cases[1].label, "CPR:4");
  EXPECT_EQ(file.out_of_reach, 3);
  std::string reason;
  for (const TextCase& c : file.cases) EXPECT_TRUE(find_marked(c.text, reason)) << reason;
  // Without relations there is a text to predict on.
  std::filesystem::remove(path("x_relations_gs.tsv"));
  CaseOptions predicting;
  predicting.need_label = false;
  EXPECT_EQ(read(predicting).cases.size(), 2u);
  EXPECT_NE(error_of([&] { read(); }).find("neither a file of relations nor a gold_standard"), std::string::npos);
  write_file_atomic(path("x_gold_standard.tsv"), "11\tCPR:4\tArg1:T3\tArg2:T4\n");
  EXPECT_EQ(read().cases[1].label, "CPR:4");
}

TEST_F(Chemprot, NamesWhatIsWrong) {
  const auto error_with = [&](const char* name, const std::string& line) {
    const std::string before = read_file(path(name));
    write_file_atomic(path(name), before + line + "\n");
    const std::string error = error_of([&] { read(); });
    CaseOptions skip;
    skip.skip_bad = true;
    EXPECT_EQ(read(skip).bad.count, 1u) << line;
    write_file_atomic(path(name), before);
    return error;
  };
  EXPECT_NE(error_with("x_entities_gs.tsv", "11\tT9\tCHEMICAL\t10\t17\tAspirin").find("x_entities_gs.tsv:8: \"Aspirin\" is not at its place, where \"aspirin\" stands"), std::string::npos);
  EXPECT_NE(error_with("x_entities_gs.tsv", "11\tT9\tCHEMICAL\t17\t9999\tx").find(":8: 17 to 9999 is no place of article 11"), std::string::npos);
  EXPECT_NE(error_with("x_entities_gs.tsv", "33\tT9\tCHEMICAL\t1\t2\tx").find("article 33 is not among the abstracts"), std::string::npos);
  EXPECT_NE(error_with("x_entities_gs.tsv", "11\tT1\tGENE-Y\t0\t5\tTNF-α").find("entity T1 of article 11 was there before"), std::string::npos);
  EXPECT_NE(error_with("x_relations_gs.tsv", "11\tCPR:4\tArg1:T3\tArg2:T7").find("x_relations_gs.tsv:6: article 11 has no entity T7"), std::string::npos);
  EXPECT_NE(error_with("x_relations_gs.tsv", "11\tCPR:4\tArg1:T3\tArg2:T2").find("are not a chemical and a gene"), std::string::npos);
  EXPECT_NE(error_with("x_relations_gs.tsv", "11\tCPR:4\tT3").find("3 columns"), std::string::npos);
}

TEST_F(Chemprot, ScoresAsBioCreative) {
  const CaseFile file = read();
  std::string found = chemprot_line(file.cases[0].id, "CPR:5") + chemprot_line(file.cases[1].id, "CPR:4");
  EXPECT_EQ(found, "11\tCPR:5\tArg1:T2\tArg2:T1\n11\tCPR:4\tArg1:T3\tArg2:T4\n");
  found += found + "22\tCPR:10\tArg1:T1\tArg2:T2\n";  // twice counts once; another group not at all
  write_file_atomic(path("found.tsv"), found);
  const ChemprotScore score = score_chemprot(path("found.tsv"), path("x_relations_gs.tsv"));
  EXPECT_EQ(score.total().gold, 4);
  EXPECT_EQ(score.total().found, 2);
  EXPECT_EQ(score.total().correct, 1);
  EXPECT_EQ(score.by_class.at("CPR:9").gold, 2);
  write_file_atomic(path("found.tsv"), "11\tCPR:5\n");
  EXPECT_NE(error_of([&] { score_chemprot(path("found.tsv"), path("x_relations_gs.tsv")); }).find("found.tsv:1: 2 columns"), std::string::npos);
}

// Damaged copies of good files are read, refused with an Error, or skipped; nothing else happens.
template <typename Parse>
void fuzz(const std::string& good, uint32_t seed, Parse&& parse, int rounds = 1500) {
  uint64_t state = seed;
  const auto random = [&state](size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % below;
  };
  constexpr std::string_view kPieces = "{}[]\",:\t\n\r \\-0eE.<>@$BIO\xff\xc3\xe2\x80";
  for (int round = 0; round < rounds; ++round) {
    std::string text = good;
    for (size_t n = 1 + random(4); n > 0 && !text.empty(); --n) {
      const size_t at = random(text.size());
      switch (random(4)) {
        case 0: text[at] = kPieces[random(kPieces.size())]; break;
        case 1: text.erase(at, 1 + random(12)); break;
        case 2: text.insert(at, 1, kPieces[random(kPieces.size())]); break;
        default: text.resize(at);
      }
    }
    for (const bool skip : {false, true}) {
      try {
        parse(text, ReadOptions{.skip_bad = skip});
      } catch (const Error&) {
      }
    }
  }
}

TEST(Fuzz, EveryReader) {
  fuzz("a\tO\nb\tB-X\nc\tI-X\n\nd\tO\n", 1, [](const std::string& t, const ReadOptions& o) { parse_conll(t, "f", o); });
  fuzz(kSquad, 2, [](const std::string& t, const ReadOptions& o) { parse_squad(t, "f", o); });
  fuzz(R"({"questions": [{"id": "q1", "type": "factoid", "body": "W?", "snippets": [{"text": "The TP53."}], "exact_answer": [["TP53"]]}]})", 3,
       [](const std::string& t, const ReadOptions& o) { as_questions(parse_bioasq(t, "f", o)); });
  fuzz("{\"text\": \"<< a >> [[ b ]]\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": 1}\n", 4, [](const std::string& t, const ReadOptions& o) {
    CaseOptions options;
    options.skip_bad = o.skip_bad;
    CaseFile file = parse_cases(t, "f", options);
    check_marks(file, "f", o);
  });
  fuzz(R"({"article": "Text.", "questions": ["Q1?"], "options": [["a","b"]], "answers": ["B"]})", 5,
       [](const std::string& t, const ReadOptions& o) { parse_race(t, "f", o); });
  EXPECT_NO_THROW(parse_squad(kSquad, "f"));
  const std::string deep(200000, '[');
  EXPECT_THROW(parse_squad(deep, "f"), Error);
}

TEST(Fuzz, ChemprotsFiles) {
  const TemporaryDirectory folder;
  const std::string abstracts = folder.path() / "a_abstracts.tsv", text = "1\tTNF-α.\tAspirin.\n";
  const auto write = [](const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; };
  std::vector<std::pair<std::string, std::string>> files = {{folder.path() / "a_entities.tsv", "1\tT1\tGENE\t0\t5\tTNF-α\n1\tT2\tCHEMICAL\t7\t14\tAspirin\n"},
                                                            {folder.path() / "a_relations.tsv", "1\tCPR:4\tArg1:T2\tArg2:T1\n"},
                                                            {abstracts, text}};
  for (const auto& file : files) write(file.first, file.second);
  for (const auto& file : files) {
    fuzz(file.second, 6, [&](const std::string& t, const ReadOptions& o) {
      CaseOptions options;
      options.skip_bad = o.skip_bad;
      write(file.first, t);
      parse_chemprot(file.first == abstracts ? t : text, abstracts, options);
    }, 500);  // each looks for sentences, which takes long under sanitizers
    write(file.first, file.second);
  }
}

}  // namespace
}  // namespace triax::tasks
