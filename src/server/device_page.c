#include "server/device_page.h"

#include <inttypes.h>

static const char style[] =
    ":root{color-scheme:light dark;--line:#8886;--accent:#2257c4}\n"
    "@media(prefers-color-scheme:dark){:root{--accent:#8ab0ff}}\n"
    "*{box-sizing:border-box}\n"
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;padding:8vh 16px}\n"
    "main{max-width:26rem;margin:auto;border:1px solid var(--line);border-radius:12px;"
    "padding:24px 28px}\n"
    "h1{font-size:1.3rem;margin:0 0 12px}\n"
    "p{margin:0 0 12px}\n"
    "label{display:block;margin:0 0 12px}\n"
    "input{display:block;width:100%;font:inherit;padding:8px 10px;margin-top:4px;"
    "border:1px solid var(--line);border-radius:8px}\n"
    "button{font:inherit;padding:8px 18px;margin:4px 8px 0 0;border:1px solid var(--accent);"
    "border-radius:8px;background:none;color:var(--accent);cursor:pointer}\n"
    "button.main{background:var(--accent);color:Canvas}\n"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:4px 16px;margin:0 0 12px}\n"
    "dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}\n"
    "summary{cursor:pointer;margin:0 0 12px}\n"
    ".code{font:600 1.4rem ui-monospace,monospace;letter-spacing:.1em}\n"
    ".problem{border-left:4px solid #c22;padding-left:10px}\n";

void page_put_style(struct buf *out)
{
    buf_puts(out, style);
}

void page_put_escaped(struct buf *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        switch (*text) {
        case '&':
            buf_puts(out, "&amp;");
            break;
        case '<':
            buf_puts(out, "&lt;");
            break;
        case '>':
            buf_puts(out, "&gt;");
            break;
        case '"':
            buf_puts(out, "&quot;");
            break;
        case '\'':
            buf_puts(out, "&#39;");
            break;
        default:
            buf_putc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
        }
    }
}

static void begin(struct buf *out, const char *title)
{
    buf_puts(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                  "<link rel=\"stylesheet\" href=\"/device/style.css\">\n<title>");
    page_put_escaped(out, title);
    buf_puts(out, " - ML-Dash</title>\n</head>\n<body>\n<main>\n<h1>");
    page_put_escaped(out, title);
    buf_puts(out, "</h1>\n");
}

static void end(struct buf *out)
{
    buf_puts(out, "</main>\n</body>\n</html>\n");
}

static void put_hidden(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "<input type=\"hidden\" name=\"%s\" value=\"", name);
    page_put_escaped(out, value);
    buf_puts(out, "\">\n");
}

static void put_form(struct buf *out, const char *action, const struct device_page *page)
{
    buf_printf(out, "<form method=\"post\" action=\"%s\">\n", action);
    put_hidden(out, "form", page->form_token);
}

static void put_problem(struct buf *out, const struct device_page *page)
{
    if (page->problem == NULL)
        return;
    buf_puts(out, "<p class=\"problem\" role=\"alert\">");
    page_put_escaped(out, page->problem);
    buf_puts(out, "</p>\n");
}

void page_put_sign_in(struct buf *out, const struct device_page *page)
{
    begin(out, "Sign in");
    put_problem(out, page);
    put_form(out, "/device", page);
    put_hidden(out, "code", page->code);
    buf_puts(out,
             "<label>User name <input name=\"username\" autocomplete=\"username\" "
             "autocapitalize=\"none\" autofocus></label>\n"
             "<label>Password <input name=\"password\" type=\"password\" "
             "autocomplete=\"current-password\"></label>\n"
             "<details><summary>Or with a token</summary>\n"
             "<label>Token <input name=\"token\" type=\"password\" autocomplete=\"off\"></label>\n"
             "</details>\n<button class=\"main\">Sign in</button>\n</form>\n");
    end(out);
}

void page_put_code(struct buf *out, const struct device_page *page)
{
    begin(out, "Log in a device");
    put_problem(out, page);
    buf_puts(out, "<p>Signed in as <b>");
    page_put_escaped(out, page->username);
    buf_puts(out, "</b>. Type the code that the device shows.</p>\n"
                  "<form method=\"get\" action=\"/device\">\n"
                  "<label>Code <input class=\"code\" name=\"code\" autocomplete=\"off\" "
                  "autocapitalize=\"characters\" maxlength=\"20\" autofocus value=\"");
    page_put_escaped(out, page->code);
    buf_puts(out, "\"></label>\n<button class=\"main\">Go on</button>\n</form>\n");
    end(out);
}

void page_put_approve(struct buf *out, const struct device_page *page)
{
    begin(out, "Let this device in?");
    put_problem(out, page);
    buf_puts(out, "<p class=\"code\">");
    page_put_escaped(out, page->code);
    buf_puts(out, "</p>\n<dl><dt>Device</dt><dd>");
    page_put_escaped(out, page->client);
    buf_puts(out, "</dd><dt>Address</dt><dd>");
    page_put_escaped(out, page->address);
    buf_printf(out, "</dd><dt>Asked</dt><dd>%" PRId64 " s ago</dd><dt>Signed in as</dt><dd>",
               page->age_s);
    page_put_escaped(out, page->username);
    buf_puts(out, "</dd></dl>\n<p>It will be able to do all that you can. Say yes only if you "
                  "began this yourself, just now, and the device shows this code.</p>\n");
    put_form(out, "/device/decide", page);
    put_hidden(out, "code", page->code);
    buf_puts(out, "<button class=\"main\" name=\"decision\" value=\"approve\">Let it in</button>\n"
                  "<button name=\"decision\" value=\"deny\">Refuse</button>\n</form>\n");
    end(out);
}

void page_put_message(struct buf *out, const char *title, const char *text)
{
    begin(out, title);
    buf_puts(out, "<p>");
    page_put_escaped(out, text);
    buf_puts(out, "</p>\n");
    end(out);
}
