"""Writes generated.json: random templates of the supported kind, rendered by genuine DocumentTemplate 5.4.

Run it with a Python that has Zope 6.3 installed: python make.py > generated.json
The same form as corpus.json; the seed is fixed.
"""

import json
import random
import sys

from DocumentTemplate.DT_HTML import HTML

VALUES = {
    "s": "hello world", "apos": "O'Neil & co", "only_apos": "O'Neil", "h": '<b>&"\'</b>', "u": "üÉ€ straße",
    "e": "", "nl": "a\nb\r\nc", "under": "a_b__c", "long": "the quick brown fox jumps over it",
    "pct": "a%20b+c%2541%zz%C3%BC%ff", "digits": "1234567", "mixed": "12345,6789 1234 12345.678901", "i": 42,
    "neg": -1234567, "z": 0, "t": True, "f": False, "none": None, "n": 1234567.891, "tiny": 1e-07, "big": 1e22,
    "half": 2.5, "minus": -0.5, "sql": "it's\x00 'x'\r",
}
ATTRIBUTES = [
    "html_quote", "url_quote", "url_quote_plus", "url_unquote", "url_unquote_plus", "newline_to_br", "lower", "upper",
    "capitalize", "spacify", "thousands_commas", "sql_quote", "null", "null=NIL", 'null="a b"', "missing=gone",
    "size=5", "size=11", "size=0", "size", "size=x", "etc=!", 'etc=""', "size=12", 'upper=""', "html_quote=0",
    "nosuch", "upper=1 upper", "lower=1 lower=1", '"x"', "=", "NULL=x", "Upper", "etc", "name=s",
]
FORMATS = [
    "%d", "%5d", "%-5d|", "%05d", "%+d", "% d", "%i", "%f", "%.0f", "%.1f", "%8.2f", "%-8.2f|", "%08.2f", "%+.1f",
    "%s", "%10s", "%-10s|", "%.3s", "100%%", "%d%%", "%%%d", "x", "a-b", "", "whole-dollars", "dollars-and-cents",
    "dollars-with-commas", "dollars-and-cents-with-commas", "comma-numeric", "collection-length", "html-quote",
    "url-quote", "url-quote-plus", "url-unquote", "url-unquote-plus", "multi-line", "sql-quote", "upper", "lower",
    "capitalize", "s",
]
LAYOUTS = [
    "{}", "a{}b", "{}\n", "<dtml-comment>x {} y</dtml-comment> \n-", "<dtml-comment>\n{}</dtml-comment>  \t\n-",
    "<dtml-if {name}>yes {}<dtml-else>no</dtml-if>", "<dtml-if {name}>\n {}\n<dtml-else>\nno\n</dtml-if>\n.",
    "<dtml-unless {name}>not {}</dtml-unless>", "<dtml-if nope>1<dtml-elif {name}>2{}<dtml-else nope>3</dtml-if>",
    "<dtml-if nope>1<dtml-elif {name}>2<dtml-else {name}>3</dtml-if>", "<!--#if {name}-->{}<!--#endif-->",
    "<dtml-if s><dtml-if e>1<dtml-else>2<dtml-if {name}>3{}</dtml-if></dtml-if></dtml-if>", "<dtml-if {name}>{}",
    "<dtml-if {name}>1<dtml-else>2<dtml-else>3</dtml-if>", "{}</dtml-if>", "<dtml-if>x</dtml-if>{}",
    "<dtml-if {name} {name}>x</dtml-if>", "<dtml-comment {name}>{}</dtml-unless></dtml-comment>", "{}<dtml-var",
    '<dtml-var "{}', "{}<!--#var s", "&dtml{}", "{}&dtml", "{}&dtml-s", "<dtml-foo>{}", "<dtml->{}", "< dtml-var s>{}",
]


def tag(chance, name, arguments):
    spelling = chance.randrange(6)
    text = " ".join([name, *arguments])
    if spelling == 0:
        return f"<!--#var {text}-->"
    if spelling == 1:
        return f"<dtml-var  {text} >"
    if spelling == 2 and all(part.isidentifier() for part in arguments):
        return f"&dtml.{'.'.join(arguments)}-{name};" if arguments else f"&dtml-{name};"
    if spelling == 3:
        return f"<dtml-var var {text}>"
    return f"<dtml-var {text}>"


def encode(value):
    if isinstance(value, float):
        return {"$": "float", "v": repr(value)}
    return value


def cases():
    chance = random.Random(5)
    seen = set()
    while len(seen) < 700:
        name = chance.choice([*VALUES, *VALUES, "nope"])
        arguments = chance.choices(ATTRIBUTES, k=chance.choice([0, 1, 1, 2, 3]))
        if chance.random() < 0.3:
            arguments.append(f'fmt="{chance.choice(FORMATS)}"')
        chance.shuffle(arguments)
        layout = chance.choice(LAYOUTS) if chance.random() < 0.4 else "{}"
        template = layout.replace("{name}", name).replace("{}", tag(chance, name, arguments))
        if template in seen:
            continue
        seen.add(template)
        names = {name, "s", "e"} & VALUES.keys()
        try:
            expect = {"output": HTML(template)(None, {known: VALUES[known] for known in names})}
            if not isinstance(expect["output"], str):
                continue
        except Exception as error:
            expect = {"error": type(error).__name__}
        yield {
            "client": None, "expect": expect, "id": f"generated/{template}",
            "ns": {known: encode(VALUES[known]) for known in sorted(names)}, "template": template,
        }


if __name__ == "__main__":
    rows = ",\n".join(json.dumps(case) for case in cases())
    sys.stdout.write('{"cases": [\n' + rows + "\n]}\n")
