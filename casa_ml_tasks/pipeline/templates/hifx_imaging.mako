<%!
rsc_path = ""
import pipeline.infrastructure.renderer.htmlrenderer as hr
%>
<%inherit file="t2-4m_details-base.mako"/>

<%block name="title">${description | h}</%block>

<p>Made with <code>${task | h}</code> of casa_ml_tasks ${version | h}, from the data and on the grid of
the targets that <code>hif_makeimlist</code> has listed. The images of <code>hif_makeimages</code> are others and stay.</p>

% if not sections:
<p>There are no targets to image.</p>
% endif

% for section in sections:
<h3>${section.title | h}</h3>
% if section.error:
<div class="alert alert-danger">Not imaged: ${section.error | h}</div>
% else:
<div class="row">
  <div class="col-md-6">
    <table class="table table-bordered table-striped table-condensed">
    % for name, value in section.facts:
      <tr><th>${name | h}</th><td>${value | h}</td></tr>
    % endfor
    </table>
  </div>
  <div class="col-md-6">
  % if section.report:
    <p><a href="${section.report | h}" class="btn btn-default" target="_blank">Full report</a></p>
    <p>The report has all figures, the major cycles, and the call that repeats the run.</p>
  % else:
    <p>There is no report of this image; the CASA log says why.</p>
  % endif
  </div>
</div>
<div class="row">
% for figure in section.figures:
% if loop.index and loop.index % 3 == 0:
</div>
<div class="row">
% endif
  <div class="col-md-4">
    <div class="thumbnail">
      <a href="${figure.path | h}" data-fancybox="${section.title | h}" data-caption="${figure.caption | h}">
        <img class="img-responsive" src="${figure.path | h}" alt="${figure.caption | h}">
      </a>
      <div class="caption"><p>${figure.caption | h}</p></div>
    </div>
  </div>
% endfor
</div>
% endif
% endfor
