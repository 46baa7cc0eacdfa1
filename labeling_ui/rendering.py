"""A text of a model as its author meant it to look: Markdown and LaTeX as a tree of harmless nodes.

The browser makes an element of each node and text of each string (passage.js). No node names an address: a link and
an image are their words and their address, to be read. HTML in the text is text.
"""

from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode

Node = str | dict[str, Any]  # text, or {"tag": …, "children": [Node, …]}; "tex" for a formula, "start" for a list

LONGEST = 20_000  # characters; longer texts are shown as they are
LONGEST_FORMULA = 1_000  # characters
MOST_FORMULAS = 200

_TAGS = {
    "paragraph": "p",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "strong": "strong",
    "em": "em",
    "s": "s",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "hr": "hr",
    "hardbreak": "br",
}
_CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}


def tree(text: str) -> list[Node] | None:
    """The nodes of the text; None when it is too long, or nested too deeply, to be rendered."""
    if len(text) > LONGEST:
        return None
    try:
        nodes = _children(SyntaxTreeNode(_markdown.parse(text)))
    except RecursionError:
        return None
    return nodes


def _node(node: SyntaxTreeNode) -> list[Node]:
    """What the browser makes of one node of the Markdown; a node without a look of its own is its children."""
    match node.type:
        case "text" | "text_special" | "html_block" | "html_inline":
            return [node.content] if node.content else []
        case "softbreak":
            return ["\n"]
        case "code_inline":
            return [{"tag": "code", "children": [node.content]}]
        case "fence" | "code_block":
            return [{"tag": "pre", "children": [node.content.rstrip("\n")]}]
        case "heading":
            return [{"tag": node.tag, "children": _children(node)}]
        case "link":
            return [{"tag": "link", "children": [*_children(node), f" ({node.attrGet('href')})"]}]
        case "image":
            return [{"tag": "image", "children": [f"image: {node.content} ({node.attrGet('src')})"]}]
        case "math" | "math_block":
            return [{"tag": "math" if node.markup in ("$", "\\(") else "display", "tex": node.content}]
        case "paragraph" if node.hidden:  # of a list without blank lines
            return _children(node)
        case "ordered_list":
            return [{"tag": "ol", "start": node.attrGet("start") or 1, "children": _children(node)}]
        case name if name in _TAGS:
            return [{"tag": _TAGS[name], "children": _children(node)}]
    return _children(node)


def _children(node: SyntaxTreeNode) -> list[Node]:
    return [made for child in node.children for made in _node(child)]


def _inline_math(state: StateInline, silent: bool) -> bool:
    """A formula between $…$, $$…$$, \\(…\\) or \\[…\\]; a price is none."""
    opening = next((mark for mark in _CLOSING if state.src.startswith(mark, state.pos)), None)
    if opening is None:
        return False
    start = state.pos + len(opening)
    end = state.src.find(_CLOSING[opening], start, start + LONGEST_FORMULA)
    content = state.src[start:end]
    if end < 0 or not content.strip() or _counted(state.env) >= MOST_FORMULAS:
        return False
    after = state.src[end + 1 : end + 2]
    if opening == "$" and (content[0].isspace() or content[-1].isspace() or "\n\n" in content or after.isdigit()):
        return False
    if not silent:
        _push(state, "math", content, opening)
    state.pos = end + len(_CLOSING[opening])
    return True


def _block_math(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A formula on lines of its own, from $$ or \\[ to the line that ends it."""
    start = state.bMarks[start_line] + state.tShift[start_line]
    opening = state.src[start : start + 2]
    if opening not in ("$$", "\\["):
        return False
    end = state.src.find(_CLOSING[opening], start + 2, start + 2 + LONGEST_FORMULA)
    last = next((line for line in range(start_line, end_line) if end <= state.eMarks[line]), None)
    if end < 0 or last is None or state.src[end + 2 : state.eMarks[last]].strip():
        return False
    if _counted(state.env) >= MOST_FORMULAS:
        return False
    if not silent:
        _push(state, "math_block", state.src[start + 2 : end], opening)
        state.line = last + 1
    return True


def _push(state: StateInline | StateBlock, kind: str, content: str, markup: str) -> None:
    token = state.push(kind, "math", 0)
    token.content, token.markup = content.strip(), markup
    state.env["formulas"] = _counted(state.env) + 1


def _counted(env: Any) -> int:
    return int(env.get("formulas", 0))


_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_markdown.inline.ruler.before("escape", "math", _inline_math)
_markdown.block.ruler.before("fence", "math_block", _block_math, {"alt": ["paragraph"]})
