"""Writes jinja.json: templates, their variables and what Jinja2 prints for them with transformers' environment.

    python make_jinja_golden.py > jinja.json          (jinja2 3.1.6)
A template that Jinja2 refuses is stored with "error": true.
"""
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(line)

    def _run(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda format: __import__("datetime").datetime(2024, 7, 26).strftime(format)
    return made


CHAT = {
    "messages": [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Hi <b>&\n there "},
        {"role": "assistant", "content": "Hello! \u00e9\U0001f600"},
    ],
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.0, None, True, "x/\u2028"], "b": {}}}}],
    "d": {"b": 1, "A": 2, "c": [3], "items": "key"},
    "n": 5,
    "s": "hELLO wORLD it's",
}

# Separated by " ;; ".
EXPRESSIONS = """
none ;; true ;; false ;; 1.0 ;; 1e20 ;; 1e-7 ;; 1e16 ;; 123456789012345680.0 ;; 0.1 ;; -0.0 ;; 7/2 ;; 7//2 ;; -7%3 ;; -7//2 ;; 7%-3 ;; 7.5//2 ;; -7.5%2 ;; 2**10 ;; 2**-1 ;; 2**0.5
[1,'a',none] ;; {'a':1} ;; (1,) ;; () ;; [] ;; {} ;; (1,2) ;; {1:'x',none:true} ;; [1.5,[true]] ;; 'a' ~ 1 ~ none ;; 1 if false ;; (1 if false) ~ 'x'
'é'|length ;; '😀'|length ;; 'hELLO'|capitalize ;; 'abc'[::-1] ;; 'abc'[-2:] ;; 'abc'[1] ;; 'abc'[-1] ;; 'abc'[5] ;; 'abcdef'[1:5:2] ;; 'abcdef'[4:1:-1]
'3x'|int ;; 3.7|int ;; ' 42 '|int ;; '0x1f'|int(base=16) ;; '1_000'|int ;; '-5'|int ;; '3.9'|int ;; none|int ;; 'x'|int(7) ;; '1.5'|float ;; 'x'|float ;; true|int
''|default('d') ;; none|default('d') ;; ''|default('d', true) ;; missing|default('d') ;; missing|length ;; missing|list ;; missing|string ;; missing|trim
'  x y '.split() ;; ' a,b,,c '.split(',') ;; 'a b c d'.split(' ', 2) ;; 'a b c d'.rsplit(' ', 1) ;; 'abc'.split('b')[0] ;; 'x'.split('y') ;; ' a  b '.split(none, 1)
'a\\nb'.split('\\n') ;; 'a\\r\\nb\\n'.splitlines() ;; 'xxabcxx'.strip('x') ;; 'xxabcxx'.lstrip('x') ;; 'xxabcxx'.rstrip('x') ;; ' \\u00a0 a\\u3000'.strip()
'abc'.startswith('ab') ;; 'abc'.endswith(('x','c')) ;; 'abc'.upper() ;; 'ABC'.lower() ;; 'abc def'.title() ;; "it's ok-fine".title() ;; "it's ok-fine (now)"|title
'abcabc'.replace('b','X') ;; 'abcabc'.replace('b','X',1) ;; 'abc'|replace('','-') ;; 'abc'.find('c') ;; 'abc'.find('z') ;; 'éabc'.find('b') ;; 'abcabc'.count('bc')
'straße'|upper ;; 'ÀÉ'|lower ;; 'ǆ'|upper ;; s|title ;; s|capitalize ;; 'a-b c'|title
d|items|list ;; d.items()|list ;; d['items'] ;; d ;; d|dictsort ;; d|dictsort(true) ;; {'a':2,'b':1}|dictsort(false,'value') ;; d.keys()|list ;; d.values()|list ;; d|length ;; d|list
d is mapping ;; 'a' is string ;; 1 is number ;; 1.0 is number ;; true is number ;; true is integer ;; 1 is integer ;; 1.0 is float ;; missing is defined ;; missing is undefined
[] is sequence ;; {} is sequence ;; '' is sequence ;; 1 is sequence ;; [] is iterable ;; 1 is iterable ;; missing is iterable ;; none is none ;; true is true ;; 1 is true ;; false is false
1 is boolean ;; 3 is odd ;; 3 is even ;; 6 is divisibleby 3 ;; 3 is eq 3 ;; 3 is equalto(3) ;; 3 is ne(4) ;; 3 is in [1,3] ;; 'a' is in 'cat' ;; 3 is sameas 3 ;; 'A' is upper ;; 'a' is lower ;; n is gt 4
1 < 2 < 3 ;; 1 < 3 < 2 ;; 1 == 1.0 ;; '1' == 1 ;; [1] == [1] ;; (1,) == [1] ;; {'a':1} == {'a':1.0} ;; none == missing ;; missing == nothing ;; true == 1 ;; 'a' < 'b' ;; [1,2] < [1,3]
'a' in 'cat' ;; 'a' not in 'cat' ;; 1 in [1] ;; 'b' in d ;; 'z' not in d ;; not true ;; not 1 == 2 ;; 1 and 0 or 3 ;; '' or 'x' ;; 'a' and 'b' ;; true and not false
1 + 2 * 3 ;; (1 + 2) * 3 ;; -2 ** 2 ;; 2 ** 3 ** 2 ;; 10 - 4 - 3 ;; 1 + 1 ~ 2 ;; 'a' ~ 1 + 1 ;; -n ;; +n ;; - 5 ;; n - -3 ;; 'ab' * 3 ;; [1] * 2 ;; [1] + [2] ;; (1,) + (2,) ;; 'a' + 'b' ;; 2 * 'x'
[3,1,2]|sort ;; ['b','A','c']|sort ;; ['b','A','c']|sort(case_sensitive=true) ;; [3,1,2]|sort(reverse=true) ;; [1,1,2]|unique|list ;; ['a','A']|unique|list
[1,2,3]|first ;; [1,2,3]|last ;; []|first ;; 'abc'|first ;; 'abc'|last ;; [1,2,3]|sum ;; [1,2,3]|max ;; [1,2,3]|min ;; [1,2,3]|reverse|list ;; 'abc'|reverse ;; [1,2]|join ;; [1,2]|join(', ') ;; ['a','b']|join('-')
messages|map(attribute='role')|list ;; messages|map(attribute='nope', default='q')|list ;; ['a','b']|map('upper')|list ;; [' a','b ']|map('trim')|join('-')
messages|selectattr('role','equalto','user')|list|length ;; messages|rejectattr('role','equalto','user')|map(attribute='role')|join(',') ;; messages|selectattr('role')|list|length
[1,2,3,4]|select('odd')|list ;; [1,2,3,4]|reject('odd')|list ;; [0,1,'']|select|list ;; [1,2]|map('string')|list ;; ['1','2']|map('int')|sum ;; [{'a':{'b':3}}]|map(attribute='a.b')|list ;; [[1,2]]|map(attribute=0)|list
tools|tojson ;; tools|tojson(indent=2) ;; {}|tojson ;; {}|tojson(indent=2) ;; []|tojson(indent=4) ;; 'é"/\\\\\\n\\t\\u2028<&>'|tojson ;; 'é😀'|tojson(ensure_ascii=true) ;; 1.0|tojson ;; 1e20|tojson ;; 1e-7|tojson ;; none|tojson ;; true|tojson
d|tojson(sort_keys=true) ;; [1,{'a':2}]|tojson(separators=(',',':')) ;; (1,2)|tojson ;; {1:2}|tojson ;; '\\u0001\\u007f'|tojson
'<b>'|escape ;; '<b>'|e ;; '<b>'|safe ;; ('<b>'|safe) + '<i>' ;; '<i>' + ('<b>'|safe) ;; ('<b>'|safe) ~ '<i>' ;; ('<b>'|safe)|trim + '<' ;; ['<'|safe, '<']|join ;; [('x'|safe)]
range(3)|list ;; range(1,4)|list ;; range(5,0,-2)|list ;; range(0)|list ;; dict(a=1,b=2) ;; dict({'x':1},y=2) ;; namespace(a=1).a ;; namespace().zzz is defined
messages[0].role ;; messages[0]['content'] ;; messages[-1].role ;; messages[9] ;; messages[9] is defined ;; messages[0].nope is defined ;; messages.0.role ;; messages[0:2]|length ;; messages[::-1][0].role ;; messages[1:]|length
3.14159|round(2) ;; 2.5|round ;; 3.5|round ;; 7|round ;; 2.675|round(2) ;; 2.1|round(0,'ceil') ;; 2.9|round(0,'floor') ;; (-3)|abs ;; (-3.5)|abs ;; -3|abs
'a\\nb\\n\\nc'|indent ;; 'a\\nb'|indent(2) ;; 'a\\nb'|indent(2, true) ;; 'a\\n\\nb'|indent(2, false, true) ;; 'a\\nb\\n'|indent(width=1)
"a'b"|list ;; ["a'b"] ;; ["a\\"b'"] ;; ['a\\\\b\\n\\t\\x01é\\u200b\\u00a0'] ;; '\\x41\\u00e9\\U0001f600\\101\\q' ;; 'abc' 'def' ;; "a" "b" ~ 'c'
'a,b'.partition(',') ;; 'ab'.partition(',') ;; 'a,b,c'.rpartition(',') ;; 'abc'.removeprefix('a') ;; 'abc'.removesuffix('c') ;; ','.join(['a','b']) ;; '12'.isdigit() ;; 'a1'.isalnum() ;; 'ab'.isalpha() ;; ' '.isspace() ;; 'AB'.isupper()
0x1f ;; 0b11 ;; 0o17 ;; 1_000 ;; 1_0.5 ;; 1e3 ;; 1.5e-3 ;; 12345678901234567890.0 ;; 5 // 0.5 ;; 1 if n > 4 else 2 ;; 1 if n > 9 else 2 if n > 4 else 3
n is defined and n == 5 ;; n is not defined ;; n is not none ;; not n is defined ;; (n is string) == false ;; n is divisibleby(5) and true ;; 'x' if missing else 'y' ;; missing.a is defined ;; none.a is defined ;; (1).a is defined
d.get('b') ;; d.get('zz') ;; d.get('zz', 3) ;; d.get('b', 3) ;; '%' ;; 'a{{b' ;; "{%" ;; strftime_now('%d %b %Y') ;; loop is defined ;; [1,2,3][1:] ;; [1,2,3][:-1] ;; [1,2,3][::2] ;; [1,2,3][-1:-3:-1] ;; (1,2,3)[1:]
missing.a ;; missing + 1 ;; missing() ;; none + 1 ;; 'a' + 1 ;; 1 + 'a' ;; 1 < 'a' ;; missing < 1 ;; none|length ;; 1|list ;; d|join(1,2,3) ;; d|nofilter_x ;; zork ;; 1 is zork ;; raise_exception('boo') ;; 1/0 ;; 1//0 ;; 1%0 ;; missing|tojson ;; {}.update(a=1) ;; [].append(1)
{'a':1}['a']['b'] ;; 'x'.nope is defined ;; [1,2]|int ;; ''|int ;; {}|int
"""

TEMPLATES = [
    "{% for m in messages %}{{ loop.index0 }}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ m.role }};{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }} {{ m.role }} {{ loop.previtem.role if loop.previtem is defined }}>{{ loop.nextitem.role if not loop.last }}\n{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}{% for x in [1] if x > 1 %}a{% else %}none left{% endfor %}",
    "{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(x=1, found=false) %}{% for i in [1,2,3] %}{% set ns.x = ns.x + i %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.x }} {{ ns.found }}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% macro m(a, b=2, c='x') %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='y') }}{{ m(b=1, a=9) }}{{ m() }}",
    "{% macro fact(n) %}{% if n < 2 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{{ y }}{% endmacro %}{% set x = 2 %}{% set y = 3 %}{{ m() }}",
    "{% for i in [1,2] %}{% macro m() %}{{ i }}{{ loop is defined }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]{% set y | upper %}abc{% endset %}{{ y }}{% set z | trim | length %}  ab {% endset %}{{ z }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{% for k, v in d|dictsort %}{{ k }}={{ v }},{% endfor %}",
    "{% set a, b = [1, 2, 3] %}",
    "  {% if true %}  \n  x\n  {% endif %}  \n y \n",
    "a\n  {%- if true -%}  \n b \n {%- endif %}\n c",
    "a\n  {%+ if true %}\n b \n {%+ endif +%}\n c",
    "a {# c #}\n b\n  {# c #}  \nd {#- c -#}  \n e {# {{ x }} {% if %} #}f",
    "{{ 1 }}\n{{ 2 -}}   \n  {{- 3 }}\n",
    "x\r\ny\rz\n\n",
    "{% raw %}{{ x }} {% if %}{% endraw %} {%- raw -%}  a  {%- endraw -%} b",
    "{{ '{{ x }}' }}{{ \"}}\" }}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a':{}}}}",
    "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] | trim %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ sys }}|{{ rest | length }}",
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}\n{%- generation %}\n  {{ m.content }}\n{%- endgeneration %}\n{% endfor %}",
    "{% for a in [1,2] %}{% for b in [3,4] %}{{ loop.depth }}{{ loop.depth0 }}{{ a }}{{ b }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}",
    "{% for i in [1,1,2] %}{{ loop.changed(i) }}{{ loop.cycle('a','b') }}{% endfor %}",
    "{% if missing %}a{% elif none %}b{% elif n %}c{% else %}d{% endif %}",
    "{% if not (messages[0].role == 'user') and messages|length > 1 %}y{% endif %}",
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}",
    "{%- for m in messages -%}\n    {{- m.content if m.content is string else m.content|tojson -}}\n{%- endfor -%}\n",
    "{{ messages | tojson(indent=4) }}",
    "{% for c in 'aé😀' %}{{ c }}-{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.a = [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}",
    "{% for x in missing %}a{% else %}b{% endfor %}",
    "{% macro a() %}{% for x in [1,2] %}{{ x }}{{ caller is defined }}{% endfor %}{% endmacro %}{{ a()|length }}{{ a() is string }}",
    "{% set x = 'outer' %}{% for i in [1] %}{{ x }}{% set x = 'inner' %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in [1,2] %}{% if i == 1 %}{% set seen = true %}{% endif %}{{ seen is defined }}{% endfor %}",
    "{% for x in 3 %}{% endfor %}", "{% if %}{% endif %}", "{{ }}", "{{ 1 + }}", "{% for %}", "{% endfor %}", "{% if x %}", "{{ 'a }}", "{# x",
    "{{ (1 }}", "{{ 1) }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% unknown %}", "{{ a b }}", "{% set x.y = 1 %}", "{% break %}", "{{ 1 | }}", "{{ x. }}",
    "{% macro m(a, b='x', c='y') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(*[1]) }}{{ m(1, *[2, 3]) }}{{ m(*'pq', c='r') }}{{ m(*[]) }}{{ m(*(1,),) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ [m][0](*[[5]][0]) }}", "{% macro m(a) %}{% endmacro %}{{ m(*[1, 2]) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(*none) }}", "{{ range(*[1], 2) }}",
    "{{ none | selectattr('x') | list }}{{ none | map('upper') | join }}{{ 0 | select | list }}{{ '' | map(attribute='x') | list }}{{ missing | reject | list }}",
    "{{ 3 | map('upper') | list }}", "{{ 3 | selectattr('x') | list }}",
    "{% set d.b = 2 %}", "{% macro m(a) %}{% endmacro %}{{ m(1,2) }}", "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "{{ range(200000)|length }}",
]


def cases():
    for line in EXPRESSIONS.strip().splitlines():
        for expression in line.split(" ;; "):
            yield "{{ " + expression + " }}"
    yield from TEMPLATES


def main():
    env = environment()
    out = []
    for template in cases():
        case = {"template": template}
        try:
            case["text"] = env.from_string(template).render(**CHAT)
        except Exception as error:  # noqa: BLE001 - any refusal counts
            case["error"] = type(error).__name__
        out.append(case)
    print(json.dumps({"variables": CHAT, "cases": out}, ensure_ascii=False, indent=1))


main()
