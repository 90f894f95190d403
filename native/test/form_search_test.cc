#include "form_search.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using holdfast::FormSearch;

namespace {

holdfast::View ViewOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

struct Result {
  std::vector<FormSearch::Found> found;
  size_t begun = 0;
};

Result Find(const FormSearch& search, const std::string& text, bool more = false) {
  Result result;
  result.begun = search.Find(ViewOf(text).first, text.size(), more, &result.found);
  return result;
}

const char kSecret[] = "n4rrow/se\"cret+with=odd&characters";

}  // namespace

TEST_CASE(
    "A secret is found in each of its forms, however it is spelled and parted, and at its place") {
  FormSearch search;
  REQUIRE(search.Prepare({ViewOf(kSecret)}, {}).Ok());
  const struct {
    const char* text;
    FormSearch::Form form;
  } cases[] = {
      {kSecret,                                                                  FormSearch::kPlain   },
      {"n4rrow%2Fse%22cret%2Bwith%3Dodd%26characters",                           FormSearch::kPlain   },
      {"n4rrow%2fse%22cret%2bwith%3dodd%26%63%68%61racters",                     FormSearch::kPlain   },
      {"n4rrow%252Fse%2522cret%252Bwith%253Dodd%2526characters",                 FormSearch::kPlain   },
      {"n4rrow/se\\\"cret+with=odd\\u0026characters",                            FormSearch::kPlain   },
      {"n4rrow/se\\ncret\\r\\n+with=odd\\t&char\\\\nacters",                     FormSearch::kPlain   },
      {"n4rrow/se\\x22cret+with=odd\\x26\\x63haracters",                         FormSearch::kPlain   },
      {"n4rrow/se\\\\u0022cret+with=odd\\\\u0026characters",                     FormSearch::kPlain   },
      {"bjRycm93L3NlImNyZXQr\\nd2l0aD1vZGQmY2hhcmFjdGVycw==",                    FormSearch::kBase64  },
      {"n4rrow/se', 'cret\" + \"with=\r\n odd&char|act(ers",                     FormSearch::kPlain   },
      {"6e3472726f772f7365226372\n65742b776974683d6f64642663686172616374657273", FormSearch::kHex     },
      {"6E3472726F772F736522637265742B776974683D6F64642663686172616374657273",   FormSearch::kHex     },
      {"sretcarahc&ddo=htiw+terc\"es/worr4n",                                    FormSearch::kReversed},
 // Behind nothing, "a" and "ab".
      {"bjRycm93L3NlImNyZXQrd2l0aD1vZGQmY2hhcmFjdGVycw==",                       FormSearch::kBase64  },
      {"YW40cnJvdy9zZSJjcmV0K3dpdGg9b2RkJmNoYXJhY3RlcnM=",                       FormSearch::kBase64  },
      {"YWJuNHJyb3cvc2UiY3JldCt3aXRoPW9kZCZjaGFyYWN0ZXJz",                       FormSearch::kBase64  },
  };
  for (const auto& each : cases) {
    CAPTURE(each.text);
    const std::string text = std::string("before: ") + each.text + "<after";
    const Result result = Find(search, text);
    REQUIRE(result.found.size() == 1);
    CHECK(result.found[0].form == each.form);
    CHECK(result.found[0].at >= 8);
    CHECK(result.found[0].at <= 11);
    CHECK(result.found[0].end <= text.size() - 6);
    CHECK(result.found[0].end >= text.size() - 10);
    CHECK(result.begun == text.size());
  }
  const std::string dumped =
      "6e:34:72:72:6f:77:2f:73:65:22:63:72:65:74:2b:77:69:74:68:3d:6f:64:64:26:63:68:61:72:61:63:"
      "74:65:72:73";
  REQUIRE(Find(search, dumped).found.size() == 1);
  CHECK(Find(search, dumped).found[0].form == FormSearch::kHex);
  CHECK(Find(search, "n4rrow/se\"cret+with=odd&character").found.empty());
  CHECK(Find(search, "").found.empty());
}

TEST_CASE(
    "What may become a secret at the data's end is said, an escape that is cut off included") {
  FormSearch search;
  REQUIRE(search.Prepare({ViewOf(kSecret)}, {}).Ok());
  const std::string whole = std::string("before ") + "n4rrow%2Fse%22cret+with=odd&characters";
  for (size_t size = 0; size < whole.size(); size++) {
    const Result result = Find(search, whole.substr(0, size), true);
    CHECK(result.found.empty());
    CHECK(result.begun == (size < 17 ? size : 7));
  }
  CHECK(Find(search, whole, true).begun == whole.size());
  CHECK(Find(search, "before n4rrow", false).begun == 13);
}

TEST_CASE("Behind a backslash, and with one in it, a secret is found all the same, once") {
  FormSearch search;
  const std::string own = "with\\not much of it";
  REQUIRE(search.Prepare({ViewOf(kSecret), ViewOf(own)}, {}).Ok());
  for (const char* before : {"\\", "\\\\", "a\\\\\\\\", ""}) {
    const Result result = Find(search, std::string(before) + kSecret);
    CAPTURE(before);
    REQUIRE(result.found.size() == 1);
    CHECK(result.found[0].form == FormSearch::kPlain);
    CHECK(result.found[0].at <= std::string(before).size() + 1);
  }
  for (const char* text :
       {"with\\not much of it", "with\\\\not much of it", "with\\\\\\\\not\\nmuch of it"})
    CHECK(Find(search, text).found.size() == 1);
}

TEST_CASE(
    "A line of JSON that is reversed stands behind the backslash of its line end, and is found") {
  // Its last character is one that a line end is written with.
  const std::string own = "bG9uZyBsaW5lIG9mIGEga2V5t";
  FormSearch search;
  REQUIRE(search.Prepare({ViewOf(own)}, {}).Ok());
  const std::string reversed(own.rbegin(), own.rend());
  const std::string text = "txen eht n\\" + reversed + "n\\erofeb";
  const Result result = Find(search, text);
  REQUIRE(result.found.size() == 1);
  CHECK(result.found[0].form == FormSearch::kReversed);
  CHECK(text.substr(result.found[0].at, result.found[0].end - result.found[0].at) == reversed);
  CHECK(Find(search, reversed).found.size() == 1);
  CHECK(Find(search, reversed.substr(1)).found.empty());
}

TEST_CASE("A secret is found in what other programs print of bytes, and in what is coded twice") {
  FormSearch search;
  REQUIRE(search.Prepare({ViewOf("Horse/battery=7")}, {}).Ok());
  const struct {
    const char* text;
    FormSearch::Form form;
  } cases[] = {
      {"&#72;orse&#x2F;battery&#0061;7",                                              FormSearch::kPlain   },
      {"Horse/b&amp;attery=&quot;7",                                                  FormSearch::kPlain   },
      {"0x48 0x6f 0x72 0x73 0x65 0x2f 0x62 0x61 0x74 0x74 0x65 0x72 0x79 0x3d 0x37",
       FormSearch::kHex                                                                                    },
      {"0x48,0x6F,0x72,0x73,0x65,0x2F,0x62,0x61,0x74,0x74,0x65,0x72,0x79,0x3D,0x37",
       FormSearch::kHex                                                                                    },
      {"[72, 111, 114, 115, 101, 47, 98, 97, 116, 116, 101, 114, 121, 61, 55]",
       FormSearch::kDecimal                                                                                },
      {"\\110\\157\\162\\163\\145\\057\\142\\141\\164\\164\\145\\162\\171\\075\\067",
       FormSearch::kOctal                                                                                  },
      {"Ubefr/onggrel=7",                                                             FormSearch::kRot13   },
      {"30TeyVGd0FmYvU2cy9GS",                                                        FormSearch::kReversed},
      {"73d397275647471626f2563727f684",                                              FormSearch::kReversed},
      {"JBXXE43FF5RGC5DUMVZHSPJX",                                                    FormSearch::kBase32  },
      {"MFRGGSDPOJZWKL3CMF2HIZLSPE6TO",                                               FormSearch::kBase32  },
      {"WVVodmNuTmxMMkpoZEhSbGNuazlOdz09",                                            FormSearch::kBase64  },
      {"H-o-r-s-e-/-b-a-t-t-e-r-y-=-7",                                               FormSearch::kParted  },
      {"H_o_r_s_e_/_b_a_t_t_e_r_y_=_7",                                               FormSearch::kParted  },
  };
  for (const auto& each : cases) {
    CAPTURE(std::string(each.text));
    const Result result = Find(search, std::string("before ") + each.text + " & after");
    REQUIRE(result.found.size() == 1);
    CHECK(result.found[0].form == each.form);
    CHECK(result.found[0].at >= 7);
    CHECK(result.found[0].end <= 7 + std::string(each.text).size());
  }
  for (const char* text : {"Horse/battery&#6", "Horse/battery&#61;", "Horse/battery=&#567;"})
    CHECK(Find(search, text).found.empty());
}

TEST_CASE("Of a long secret the forms are found that whole files have") {
  FormSearch search;
  std::string own;
  for (int i = 0; own.size() < 600; i++) own += std::to_string(i * 7919);
  REQUIRE(search.Prepare({ViewOf(own)}, {}).Ok());
  std::string hex;
  std::string octal;
  for (const char each : own) {
    hex += "3" + std::string(1, each);
    octal += "06" + std::string(1, each);
  }
  CHECK(Find(search, own).found.size() == 1);
  CHECK(Find(search, hex).found.size() == 1);
  CHECK(Find(search, std::string(hex.rbegin(), hex.rend())).found.size() == 1);
  CHECK(Find(search, octal).found.empty());
}

TEST_CASE("What is mostly separators is found as it is, and twice where it stands twice") {
  FormSearch search;
  const std::string own = "p:w;(1,2)+3";
  REQUIRE(search.Prepare({ViewOf(own)}, {}).Ok());
  const Result result = Find(search, "a " + own + own + "; p w 1 2 3");
  REQUIRE(result.found.size() == 2);
  CHECK(result.found[0].at == 2);
  CHECK(result.found[1].end == 2 + 2 * own.size());
  search.Wipe();
  CHECK(Find(search, own).found.empty());
}

TEST_CASE("Each mark is found once, short secrets and what was wiped not at all") {
  FormSearch search;
  const std::string other = "another secret of several words";
  REQUIRE(search.Prepare({ViewOf("short"), ViewOf(other)}, {ViewOf("ghp_"), ViewOf("-----BEGIN")})
              .Ok());
  Result result = Find(search, "short ghp_1 ghp_2 -----BEGIN " + other);
  REQUIRE(result.found.size() == 3);
  CHECK(result.found[0].form == FormSearch::kMark);
  CHECK(result.found[0].secret == 0);
  CHECK(result.found[1].form == FormSearch::kMark);
  CHECK(result.found[1].secret == 1);
  CHECK(result.found[2].secret == 1);
  search.Wipe();
  CHECK(Find(search, other).found.empty());
}
